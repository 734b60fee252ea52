"""Settings of the detector, the stream test and the report."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from wakeword_core.config.base import DecidesIf, ReverberationSeconds, Settings

Way = Literal["telephone", "gsm", "opus", "microphone", "quiet", "clipped"]
WAYS: tuple[Way, ...] = get_args(Way)
"""On which words may reach a model."""
Under = Literal["noise", "speech", "music"]
UNDER: tuple[Under, ...] = get_args(Under)
"""What may lie under words."""


def _on_way(way: Way) -> DecidesIf:
    return DecidesIf(lambda test: way in test.ways)


class DetectorConfig(Settings):
    """How streaming scores become detections."""

    stride_seconds: float = Field(0.04, gt=0, le=1, description="Time between scores.")
    smoothing: int = Field(4, ge=1, le=50, description="How many of the latest scores are averaged or voted on.")
    votes: int = Field(
        0, ge=0, le=50, description="How many of the latest scores must reach the threshold; 0: their mean must."
    )
    hold: int = Field(
        1, ge=1, le=50, description="Smoothed scores in a row that must reach the threshold before a detection."
    )
    off_ratio: float = Field(0.6, gt=0, le=1, description="The detector is re-armed below this share of the threshold.")
    rearm_seconds: float = Field(
        1.0, ge=0, le=60, description="It is also re-armed after this long below the threshold."
    )
    lockout_seconds: float = Field(
        1.0, ge=0, le=60, description="Time after a detection in which there is no second one."
    )

    @model_validator(mode="after")
    def _votes_among_the_scores(self) -> Self:
        if self.votes > self.smoothing:
            raise ValueError(f"votes ({self.votes}) must not exceed smoothing ({self.smoothing}), the scores voted on")
        return self


class TuningConfig(Settings):
    """Detectors tried on validation; the configured one is always among them."""

    enabled: bool = Field(True, description="Whether the detector is chosen on validation.")
    smoothing: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field(
        (1, 2, 3, 4, 6, 8, 12), description="Numbers of latest scores to try."
    )
    votes: tuple[Annotated[int, Field(ge=0, le=50)], ...] = Field(
        (0, 2, 3), description="Numbers of votes to try; those above the smoothing are left out."
    )
    hold: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field((1, 2, 3), description="Debounces to try.")
    off_ratio: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.4, 0.6, 0.8), description="Shares of the threshold for re-arming to try."
    )
    longest_seconds: float = Field(
        0.5,
        gt=0,
        le=2,
        description="Time over which a detector that is tried may collect scores, which bounds how late it detects.",
    )


class CalibrationConfig(Settings):
    """How scores are corrected on validation, so that a score of 0.9 is right nine times of ten."""

    method: Literal["temperature", "vector", "isotonic"] = Field(
        "temperature",
        description="One temperature for all classes, a scale and a shift for each, or an increasing curve.",
    )


class StreamsConfig(Settings):
    """How continuous audio is put together, and what counts as a hit in it."""

    noise_seconds: float = Field(
        5.0, ge=0, le=60, description="Seconds of noise around a word whose power the signal to noise ratio refers to."
    )
    gap_seconds: float = Field(1.0, ge=0, le=60, description="Pause between the recordings of a stream.")
    tolerance_seconds: float = Field(
        0.75, gt=0, le=10, description="A detection is a hit from the start of a word until this long after its end."
    )
    session_minutes: float = Field(10.0, gt=0, le=240, description="Longest stretch of continuous audio held at once.")
    floor_dbfs: float = Field(
        -65.0, ge=-80, le=-30, description="Level of the noise that a stream always has, also in pauses."
    )


class TuningConditionsConfig(Settings):
    """Conditions under which everything is tuned, and the headline miss rate is measured."""

    snr_db: tuple[float | None, ...] = Field(
        (None, 10.0), min_length=1, description="The near conditions that the headline miss rate and all tuning use."
    )


class TestConditionsConfig(Settings):
    """Conditions that the test is heard in."""

    snr_db: tuple[float | None, ...] = Field(
        (None, 20.0, 10.0, 5.0, 0.0),
        min_length=1,
        description="Noise under the positives of the stream test; null is clean.",
    )
    far_snr_db: tuple[float | None, ...] = Field((None, 10.0), description="The same for positives across a room.")
    far_rooms: int = Field(32, ge=1, le=4_096, description="Rooms generated when no recordings of rooms exist.")
    far_rt60_seconds: tuple[ReverberationSeconds, ReverberationSeconds] = Field(
        (0.2, 0.8), description="Reverberation time of generated rooms, from and to."
    )
    speech_db: Annotated[tuple[float, ...], DecidesIf(lambda test: bool(test.speech_db))] = Field(
        (), description="Other people's speech under the positives, at these ratios of the word to it in dB."
    )
    music_db: Annotated[tuple[float, ...], DecidesIf(lambda test: bool(test.music_db))] = Field(
        (), description="Music, which is computed, under the positives, likewise."
    )
    ways: Annotated[tuple[Way, ...], DecidesIf(lambda test: bool(test.ways))] = Field(
        (),
        description="Ways on which positives reach the model besides: a telephone's band and 8 bits, the codec of GSM "
        "or Opus, a microphone that colours, very quiet, or clipped.",
    )
    opus_kbps: Annotated[float, _on_way("opus")] = Field(
        12.0, ge=6, le=256, description="Bit rate of Opus, in thousands a second."
    )
    microphone_db: Annotated[float, _on_way("microphone")] = Field(
        12.0, ge=0, le=40, description="The most that the microphone raises or lowers an octave."
    )
    quiet_dbfs: Annotated[float, _on_way("quiet")] = Field(-50.0, ge=-80, le=0, description="Level of a quiet word.")
    clipped_db: Annotated[float, _on_way("clipped")] = Field(
        12.0, ge=0, le=60, description="How far the loudest sample of a clipped word is above what fits."
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        self.require_ordered("far_rt60_seconds")
        return self


class ConditionsConfig(Settings):
    """Noise and rooms that words are heard in."""

    tuning: TuningConditionsConfig = TuningConditionsConfig()
    test: TestConditionsConfig = TestConditionsConfig()


_POINTS = {"strict": 0.1, "balanced": 0.5, "lenient": 2.0}


class OperatingPointsConfig(Settings):
    """Operating points, and how their thresholds are searched."""

    points: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], Annotated[float, Field(gt=0, le=1_000)]
    ] = Field(_POINTS, description="Operating points by name: false alarms an hour allowed at each.")
    default: str = Field("balanced", description="The operating point that is used unless another is named.")
    sweep_points: int = Field(200, ge=10, le=10_000, description="Thresholds tried on continuous audio.")
    confidence: float = Field(0.95, gt=0, lt=1, description="Confidence level of every interval.")
    max_confusables_accepted: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of validation's phrases that sound alike that a threshold may accept where nobody says the "
        "wake word and the background is too short for one alarm; 1: any.",
    )

    @field_validator("points", mode="before")
    @classmethod
    def _beside_the_standard_ones(cls, points: Any) -> Any:
        return {**_POINTS, **points} if isinstance(points, dict) else points

    @field_validator("default")
    @classmethod
    def _one_of_the_points(cls, name: str, info: ValidationInfo) -> str:
        known = info.data.get("points", {name: 0.0})
        if name not in known:
            raise ValueError(f"must be one of evaluation.operating_points.points: {', '.join(known)}")
        return name


class ReportConfig(Settings):
    """What the report shows."""

    fah_points: tuple[float, ...] = Field((0.1, 0.5, 1.0, 2.0), description="False alarms an hour to report misses at.")
    clips: int = Field(
        10,
        ge=0,
        le=100,
        description="How many of the worst misses, and of the worst false alarms, the report lets one hear.",
    )
    suspicious_clips: int = Field(
        10, ge=0, le=1_000, description="How many doubtful training recordings the report lists."
    )
    recognise: Annotated[Literal["none", "whisper"], DecidesIf(lambda report: report.recognise != "none")] = Field(
        "none",
        description="What listens whether people said the wake word in its training recordings: with 'whisper', those "
        "in which Whisper does not hear it are listed as doubtful (extras ears and speech); none: nothing does.",
    )
    clip_seconds: float = Field(2.5, ge=0.5, le=10, description="Seconds of sound around each of them.")


class EvaluationConfig(Settings):
    """What is measured, and at which operating points."""

    streams: StreamsConfig = StreamsConfig()
    conditions: ConditionsConfig = ConditionsConfig()
    detector: DetectorConfig = DetectorConfig()
    tuning: TuningConfig = TuningConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    operating_points: OperatingPointsConfig = OperatingPointsConfig()
    report: ReportConfig = ReportConfig()

    @property
    def allowed_fah(self) -> float:
        """False alarms an hour allowed at the default operating point."""
        return self.operating_points.points[self.operating_points.default]
