"""Every setting of the project, typed, bounded and described; nothing else in the code holds a tunable number."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Role = Literal["positive", "negative", "hard_negative", "background", "noise", "rir"]
ROLES: tuple[Role, ...] = ("positive", "negative", "hard_negative", "background", "noise", "rir")
NEGATIVE_LABEL = "_negative"
"""Class 0 of every model: everything that is not a wake word."""


class Settings(BaseModel):
    """A group of settings: unknown names are errors, and a loaded group never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceConfig(Settings):
    """One folder of recordings that share a role, a licence and a rule for telling speakers apart."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Short name; appears in reports.")]
    path: Path = Field(description="Folder; ${VARIABLES} are expanded, relative to the configuration file.")
    role: Role = Field(description="What its recordings are to the wake word.")
    label: str | None = Field(None, description="Class of positives; default: the phrase.")
    licence: str = Field("", description="Licence of the recordings, as an SPDX name where there is one.")
    include: tuple[str, ...] = Field(("**/*",), min_length=1, description="Glob patterns of the files to take.")
    exclude: tuple[str, ...] = Field((), description="Glob patterns of files to leave out.")
    speaker: str = Field(
        "unknown",
        description="How to tell speakers apart: 'unknown' (each recording its own group), 'single' (one speaker), "
        "'parent' (folder name), 'block:N' (files whose numbers fall in the same N are one group), "
        "or 'regex:...' with a group named speaker, matched on the relative path.",
    )
    speaker_space: str | None = Field(
        None, description="Sources that share this name share their speakers; default: each source has its own."
    )
    split: Split | None = Field(None, description="Hold the whole source in this split; default: by speaker hash.")

    @field_validator("speaker")
    @classmethod
    def _known_speaker_rule(cls, rule: str) -> str:
        if rule in ("unknown", "single", "parent") or re.fullmatch(r"block:[1-9]\d*", rule):
            return rule
        if rule.startswith("regex:"):
            try:
                pattern = re.compile(rule.removeprefix("regex:"))
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "speaker" in pattern.groupindex:
                return rule
        raise ValueError("must be unknown, single, parent, block:N or regex:... with (?P<speaker>...)")


class DataConfig(Settings):
    """Which recordings are used, which are fit for use, and how they are split."""

    sources: tuple[SourceConfig, ...] = Field((), description="Folders of recordings.")
    sample_rate: int = Field(16_000, ge=8_000, le=48_000, description="Rate everything is brought to, in Hz.")
    min_seconds: float = Field(0.2, gt=0, description="Shorter recordings are quarantined.")
    max_seconds: float = Field(60.0, gt=0, description="Longer speech recordings are quarantined.")
    max_background_seconds: float = Field(3_600.0, gt=0, description="Longer background or noise is quarantined.")
    max_channels: int = Field(2, ge=1, le=64, description="More channels are quarantined; up to it they are averaged.")
    max_file_mb: float = Field(512.0, gt=0, description="Larger files are quarantined unread.")
    silence_dbfs: float = Field(-70.0, le=0, description="A recording whose RMS is below this is silent.")
    max_clipped_ratio: float = Field(0.05, ge=0, le=1, description="More samples than this at full scale is clipped.")
    val_fraction: float = Field(0.15, gt=0, lt=1, description="Share of speaker groups for validation.")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="Share of speaker groups for the test.")
    vad_threshold: float = Field(0.5, gt=0, lt=1, description="Speech probability above which a frame is speech.")
    workers: int = Field(0, ge=0, le=256, description="Threads that decode; 0 means one a core.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.val_fraction + self.test_fraction >= 0.9:
            raise ValueError("val_fraction + test_fraction must stay below 0.9, or nothing is left to train on")
        if self.min_seconds >= self.max_seconds:
            raise ValueError("min_seconds must be below max_seconds")
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("two sources have the same name")
        return self


class SynthesisConfig(Settings):
    """Recordings made from text, as one more source."""

    enabled: bool = Field(False, description="Whether synthetic speech joins the recordings.")
    positives: int = Field(600, ge=0, le=100_000, description="Recordings of the phrase.")
    hard_negatives: int = Field(600, ge=0, le=100_000, description="Recordings of phrases that sound alike.")
    negatives: int = Field(900, ge=0, le=100_000, description="Recordings of other sentences.")
    background_minutes: float = Field(6.0, ge=0, le=600, description="Synthetic background sound.")
    rate_range: tuple[int, int] = Field((120, 220), description="Words a minute of espeak-ng voices, from and to.")
    pitch_range: tuple[int, int] = Field((25, 75), description="espeak-ng pitch, 0 to 99, from and to.")
    neural_share: float = Field(0.25, ge=0, le=1, description="Share of recordings from the neural voice.")
    intonation_range: tuple[int, int] = Field((30, 80), description="espeak-ng pitch range, 0 to 99, from and to.")
    margin_seconds: tuple[float, float] = Field((0.2, 0.6), description="Quiet before and after speech, from and to.")
    level_dbfs: tuple[float, float] = Field((-32.0, -18.0), description="RMS level of speech, from and to.")
    quiet_dbfs: tuple[float, float] = Field((-75.0, -58.0), description="RMS level of the noise floor, from and to.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        bounds: dict[str, tuple[float, float]] = {
            "rate_range": (80, 450),
            "pitch_range": (0, 99),
            "intonation_range": (0, 99),
            "margin_seconds": (0, 10),
            "level_dbfs": (-60, -6),
            "quiet_dbfs": (-90, -30),
        }
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise ValueError(f"{name} must be given as [from, to] with {least:g} <= from <= to <= {most:g}")
        return self


class ShardsConfig(Settings):
    """How recordings are packed in Parquet."""

    shard_mb: float = Field(64.0, gt=0, le=2_048, description="Aimed-at size of a shard of decoded audio.")
    count: int | None = Field(None, ge=1, le=4_096, description="Shards a split; default: from the size.")
    retries: int = Field(1, ge=0, le=10, description="How often a failed shard is tried again.")


class FrontendConfig(Settings):
    """Log-mel front end; the same numbers are used in training, export and on the device."""

    n_fft: int = Field(512, ge=64, le=8_192, description="Samples a Fourier transform.")
    win_length: int = Field(480, ge=32, le=8_192, description="Samples a Hann window (30 ms at 16 kHz).")
    hop_length: int = Field(160, ge=16, le=4_096, description="Samples between frames (10 ms at 16 kHz).")
    n_mels: int = Field(64, ge=8, le=256, description="Mel bands.")
    f_min: float = Field(60.0, ge=0, description="Lowest frequency in Hz.")
    f_max: float = Field(7_600.0, gt=0, description="Highest frequency in Hz.")
    log_floor: float = Field(1e-6, gt=0, description="Added to mel power before the logarithm.")
    window_frames: int = Field(151, ge=16, le=2_000, description="Frames a window: 151 is 1.5 s at a 10 ms hop.")

    @property
    def window_samples(self) -> int:
        """Samples that give exactly `window_frames` frames without padding."""
        return (self.window_frames - 1) * self.hop_length + self.n_fft

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.win_length > self.n_fft:
            raise ValueError("win_length must not exceed n_fft")
        if self.f_min >= self.f_max:
            raise ValueError("f_min must be below f_max")
        return self


class AugmentConfig(Settings):
    """What an augmented view may do to a recording; every probability at 0 leaves it as it is."""

    gain_db: tuple[float, float] = Field((-12.0, 6.0), description="Gain, from and to.")
    noise_probability: float = Field(0.7, ge=0, le=1, description="How often noise is mixed in.")
    noise_minutes: float = Field(30.0, gt=0, le=600, description="Recorded noise and background kept to mix in.")
    generated_noise_minutes: float = Field(10.0, ge=0, le=120, description="Generated noise to mix in besides.")
    snr_db: tuple[float, float] = Field((0.0, 25.0), description="Signal to noise ratio, from and to.")
    rir_probability: float = Field(0.5, ge=0, le=1, description="How often a room is applied.")
    generated_rirs: int = Field(64, ge=0, le=4_096, description="Rooms generated when no recordings of rooms exist.")
    rt60_seconds: tuple[float, float] = Field((0.15, 0.7), description="Reverberation time of generated rooms.")
    speed_probability: float = Field(0.6, ge=0, le=1, description="How often speed (and pitch with it) changes.")
    speed: tuple[float, float] = Field((0.9, 1.1), description="Speed factor, from and to.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("gain_db", "snr_db", "rt60_seconds", "speed"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be given as [from, to] with from <= to")
        if not 0.5 <= self.speed[0] <= self.speed[1] <= 2.0:
            raise ValueError("speed must lie between 0.5 and 2")
        return self


class FeaturesConfig(Settings):
    """How windows are cut, augmented and stored."""

    frontend: FrontendConfig = FrontendConfig()
    augment: AugmentConfig = AugmentConfig()
    views: int = Field(4, ge=1, le=64, description="Views of each training window; the first is clean.")
    negative_views: int = Field(2, ge=1, le=64, description="Views of each window that is not a positive.")
    context_frames: int = Field(
        150,
        ge=0,
        le=2_000,
        description="Frames that a training row holds besides a window, to be scored at every step.",
    )
    tail_seconds: float = Field(0.1, ge=0, le=1, description="Sound kept after the end of the word in clean views.")
    jitter_seconds: float = Field(0.2, ge=0, le=1, description="Besides the tail, sound kept after the word at least.")
    negative_hop_seconds: float = Field(
        1.0, gt=0, le=60, description="Step between windows of a long negative; in training it is the context."
    )
    edge_seconds: float = Field(
        0.4, ge=0.05, le=10, description="Sound at the end of a long negative's first window; before it is quiet."
    )
    max_windows: int = Field(400, ge=1, le=100_000, description="Windows taken from one recording at most.")
    dtype: Literal["float16", "float32"] = Field("float16", description="Number format of stored features.")
    batch_windows: int = Field(64, ge=1, le=65_536, description="Windows computed at once on a CPU.")
    gpu_batch_windows: int = Field(4_096, ge=1, le=65_536, description="Windows computed at once on a GPU.")

    def row_frames(self, split: Split) -> int:
        """Frames a stored row: a window, and in training the sound around it."""
        return self.frontend.window_frames + (self.context_frames if split == "train" else 0)

    def row_samples(self, split: Split) -> int:
        """Samples that give exactly `row_frames` frames without padding."""
        return self.frontend.window_samples + (self.row_frames(split) - self.frontend.window_frames) * (
            self.frontend.hop_length
        )


class BcResNetConfig(Settings):
    """BC-ResNet (Kim et al. 2021): 2-D convolutions with broadcast temporal residuals."""

    arch: Literal["bc_resnet"] = "bc_resnet"
    tau: float = Field(1, description="Width multiplier: 1, 1.5, 2, 3, 6 or 8, as in the paper.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in the broadcast branch.")

    @field_validator("tau")
    @classmethod
    def _published(cls, tau: float) -> float:
        if tau not in (1, 1.5, 2, 3, 6, 8):
            raise ValueError("must be 1, 1.5, 2, 3, 6 or 8")
        return tau


class TinyConvConfig(Settings):
    """A small 2-D convolutional network."""

    arch: Literal["tiny_conv"] = "tiny_conv"
    channels: int = Field(24, ge=4, le=256, description="Channels of the first layer; they double twice.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


class TcnConfig(Settings):
    """A temporal convolutional network over mel channels, residual, dilated and without padding."""

    arch: Literal["tcn"] = "tcn"
    channels: int = Field(64, ge=8, le=512, description="Channels of every block.")
    kernel: int = Field(5, ge=2, le=31, description="Taps of each temporal convolution.")
    dilations: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(
        (1, 1, 2, 2, 4), min_length=1, max_length=24, description="Steps between taps, one number a block."
    )
    stride: int = Field(3, ge=1, le=8, description="Frames a step after the first layer.")
    members: int = Field(1, ge=1, le=16, description="Networks of this size whose scores are averaged.")
    head_steps: int = Field(9, ge=1, le=64, description="Last steps that the classifier sees.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the classifier.")


ModelConfig = Annotated[BcResNetConfig | TinyConvConfig | TcnConfig, Field(discriminator="arch")]


class SpecAugmentConfig(Settings):
    """SpecAugment (Park et al. 2019) masks, drawn anew for every batch on the device."""

    time_masks: int = Field(1, ge=0, le=8, description="Masked stretches of time.")
    time_frames: int = Field(20, ge=0, le=500, description="Longest masked stretch in frames.")
    mel_masks: int = Field(1, ge=0, le=8, description="Masked groups of bands.")
    mel_bands: int = Field(8, ge=0, le=128, description="Widest masked group of bands.")


class TrainAugmentConfig(Settings):
    """Changes of log-mels drawn anew for every batch on the device; all at zero leave them as they are."""

    band_warp: float = Field(0.12, ge=0, le=0.5, description="Largest relative stretch of frequency (VTLP).")
    colour_db: float = Field(2.0, ge=0, le=20, description="Deviation of each smooth curve over the bands, in dB.")
    gain_db: tuple[float, float] = Field((0.0, 0.0), description="Gain, from and to; stored views have their own.")
    noise_probability: float = Field(0.6, ge=0, le=1, description="How often a row of noise is mixed in.")
    noise_snr_db: tuple[float, float] = Field((0.0, 25.0), description="Signal to noise ratio, from and to.")

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("gain_db", "noise_snr_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be given as [from, to] with from <= to")
        return self


class LossConfig(Settings):
    """What scores are asked for, and how much each kind of error counts."""

    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Probability mass moved to the other classes.")
    hit_seconds: float = Field(0.3, ge=0, le=2, description="A word is to be heard in this time after its end.")
    best_steps: int = Field(8, ge=1, le=1_000, description="How many scores in that time count, the best.")
    early_seconds: float = Field(0.2, ge=0, le=2, description="Until this long before a word's end nothing is heard.")
    early_weight: float = Field(0.3, ge=0, le=10, description="Weight of the scores before the word.")
    worst_early_steps: int = Field(3, ge=1, le=1_000, description="How many of those count, the worst.")
    worst_steps: int = Field(5, ge=1, le=1_000, description="How many scores of a negative row count, the worst.")
    all_steps_weight: float = Field(0.5, ge=0, le=10, description="Weight of the mean over all its scores.")


class TrainingConfig(Settings):
    """The optimisation of one model."""

    epochs: int = Field(20, ge=1, le=10_000, description="Epochs at most.")
    steps_per_epoch: int = Field(0, ge=0, le=1_000_000, description="Batches an epoch; 0: once through the negatives.")
    max_steps_per_epoch: int = Field(
        400, ge=1, le=1_000_000, description="Most batches an epoch with steps_per_epoch 0."
    )
    batch_size: int = Field(128, ge=2, le=65_536, description="Windows a batch.")
    mix: tuple[float, float, float] = Field(
        (0.3, 0.5, 0.2), description="Shares of positives, negatives and hard negatives in a batch."
    )
    learning_rate: float = Field(3e-3, gt=0, le=1, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="Decoupled weight decay; not on norms and biases.")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of all steps in which the rate rises linearly.")
    final_lr_fraction: float = Field(0.01, ge=0, le=1, description="Rate at the end of the cosine, of the peak.")
    loss: LossConfig = LossConfig()
    ema_decay: float = Field(0.998, ge=0, lt=1, description="Exponential moving average of weights; 0: none.")
    clip_norm: float = Field(5.0, gt=0, description="Gradients are scaled down to this norm.")
    val_max_fpr: float = Field(
        0.1, gt=0, le=1, description="The validation score is the partial ROC-AUC up to this rate."
    )
    keep: Literal["last", "best"] = Field(
        "last", description="Which epoch's averaged weights are the model: the last, or the best on validation."
    )
    patience: int = Field(
        8, ge=1, le=10_000, description="With keep 'best': epochs without a better validation score before stopping."
    )
    augment: TrainAugmentConfig = TrainAugmentConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    amp: bool = Field(True, description="bfloat16 autocast on CUDA; no effect on a CPU.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where features and training run.")
    threads: int = Field(0, ge=0, le=256, description="Torch threads; 0: all cores.")
    min_val_auc: float = Field(0.7, ge=0.5, lt=1, description="The model check fails below this ROC-AUC on validation.")

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if any(share < 0 for share in self.mix) or self.mix[0] <= 0 or self.mix[0] >= sum(self.mix):
            raise ValueError("mix needs a positive share for positives and for at least one kind of negative")
        return self


class DetectorConfig(Settings):
    """How streaming scores become detections."""

    stride_seconds: float = Field(0.04, gt=0, le=1, description="Time between scores.")
    smoothing: int = Field(4, ge=1, le=50, description="Latest scores looked at.")
    votes: int = Field(
        0,
        ge=0,
        le=50,
        description="How many of the latest scores must reach the threshold; 0: their mean must.",
    )
    hold: int = Field(
        1, ge=1, le=50, description="Smoothed scores in a row that must reach the threshold before a detection."
    )
    off_ratio: float = Field(0.6, gt=0, le=1, description="Re-armed below this share of the threshold.")
    rearm_seconds: float = Field(1.0, ge=0, le=60, description="Also re-armed after this long below the threshold.")
    lockout_seconds: float = Field(1.0, ge=0, le=60, description="No second detection within this time.")

    @model_validator(mode="after")
    def _votes_among_the_scores(self) -> Self:
        if self.votes > self.smoothing:
            raise ValueError(f"votes ({self.votes}) must not exceed smoothing ({self.smoothing}), the scores voted on")
        return self


class TuningConfig(Settings):
    """Detectors tried on validation; the configured one is always among them."""

    enabled: bool = Field(True, description="Whether the detector is chosen on validation.")
    smoothing: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field(
        (1, 2, 3, 4, 6), description="Numbers of latest scores to try."
    )
    votes: tuple[Annotated[int, Field(ge=0, le=50)], ...] = Field(
        (0, 2, 3), description="Numbers of votes to try; those above the smoothing are left out."
    )
    hold: tuple[Annotated[int, Field(ge=1, le=50)], ...] = Field((1, 2, 3), description="Debounces to try.")
    off_ratio: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.4, 0.6, 0.8), description="Shares of the threshold for re-arming to try."
    )


class CalibrationConfig(Settings):
    """How scores are made to mean what they say, on validation."""

    method: Literal["temperature", "vector", "isotonic"] = Field(
        "temperature",
        description="One temperature for all classes, a scale and a shift for each, or an increasing curve.",
    )


_OPERATING_POINTS = {"strict": 0.1, "balanced": 0.5, "lenient": 2.0}


class EvaluationConfig(Settings):
    """What is measured, and at which operating points."""

    detector: DetectorConfig = DetectorConfig()
    tuning: TuningConfig = TuningConfig()
    operating_points: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")], Annotated[float, Field(gt=0, le=1_000)]
    ] = Field(_OPERATING_POINTS, description="Sensitivities by name: false alarms an hour allowed at each.")
    operating_point: str = Field("balanced", description="The sensitivity that is used unless another is asked for.")
    stream_snr_db: tuple[float | None, ...] = Field(
        (None, 20.0, 10.0, 5.0, 0.0),
        min_length=1,
        description="Noise under the positives of the stream test; null is clean.",
    )
    far_snr_db: tuple[float | None, ...] = Field((None, 10.0), description="The same for positives across a room.")
    target_snr_db: tuple[float | None, ...] = Field(
        (None, 10.0), min_length=1, description="The near conditions that the headline miss rate and all tuning use."
    )
    noise_seconds: float = Field(
        5.0, ge=0, le=60, description="The ratio is to the power of this much noise around a word, in seconds."
    )
    far_rooms: int = Field(32, ge=1, le=4_096, description="Rooms generated when no recordings of rooms exist.")
    far_rt60_seconds: tuple[float, float] = Field((0.2, 0.8), description="Reverberation time of generated rooms.")
    gap_seconds: float = Field(1.0, ge=0, le=60, description="Pause between the recordings of a stream.")
    tolerance_seconds: float = Field(0.75, gt=0, le=10, description="A detection this near the word's end is a hit.")
    session_minutes: float = Field(10.0, gt=0, le=240, description="Longest stretch of continuous audio held at once.")
    floor_dbfs: float = Field(-65.0, ge=-80, le=-30, description="Noise a stream always has, in pauses too.")
    sweep_points: int = Field(200, ge=10, le=10_000, description="Thresholds tried on the stream test.")
    fah_points: tuple[float, ...] = Field((0.1, 0.5, 1.0, 2.0), description="False alarms an hour to report misses at.")
    calibration: CalibrationConfig = CalibrationConfig()
    tta_shifts_ms: tuple[Annotated[int, Field(ge=-200, le=200)], ...] = Field(
        (), description="Test windows are also scored as the mean over these shifts, in ms; empty: not."
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="Level of every interval.")
    report_clips: int = Field(10, ge=0, le=100, description="Worst misses, and false alarms, to listen to in a report.")
    report_suspicious_clips: int = Field(10, ge=0, le=1_000, description="Doubtful training recordings in a report.")
    report_clip_seconds: float = Field(2.5, ge=0.5, le=10, description="Sound around each of them.")

    @field_validator("operating_points", mode="before")
    @classmethod
    def _beside_the_standard_ones(cls, points: Any) -> Any:
        return {**_OPERATING_POINTS, **points} if isinstance(points, dict) else points

    @field_validator("operating_point")
    @classmethod
    def _one_of_the_points(cls, name: str, info: ValidationInfo) -> str:
        known = info.data.get("operating_points", {name: 0.0})
        if name not in known:
            raise ValueError(f"must be one of operating_points: {', '.join(known)}")
        return name

    @field_validator("far_rt60_seconds")
    @classmethod
    def _reverberation(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0.05 <= limits[0] <= limits[1] <= 5:
            raise ValueError("must be given as [from, to] with 0.05 <= from <= to <= 5")
        return limits

    @property
    def allowed_fah(self) -> float:
        """False alarms an hour allowed at the default operating point."""
        return self.operating_points[self.operating_point]


class ExportConfig(Settings):
    """How the model ships."""

    opset: int = Field(18, ge=17, le=23, description="ONNX operator set.")
    parity_tolerance: float = Field(
        1e-4, gt=0, le=1e-2, description="Largest difference between ONNX and torch scores."
    )
    int8_calibration_windows: int = Field(512, ge=8, le=100_000, description="Training windows that set INT8 ranges.")
    int8_max_ratio: float = Field(0.35, gt=0, le=1, description="Largest INT8 size as a share of fp32.")
    int8_max_f1_drop: float = Field(0.01, ge=0, le=1, description="Largest loss of F1 on the test split.")


class Config(Settings):
    """A wake-word project."""

    phrase: str = Field("hey robin", min_length=1, max_length=60, description="The wake word or phrase.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random.")
    data: DataConfig = DataConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    shards: ShardsConfig = ShardsConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = TcnConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("phrase")
    @classmethod
    def _speakable(cls, phrase: str) -> str:
        phrase = " ".join(phrase.split())
        if not re.search(r"\w", phrase) or not phrase.isprintable() or phrase.startswith("_"):
            raise ValueError("must contain letters, no control characters, and not start with an underscore")
        return phrase

    @model_validator(mode="after")
    def _band_below_nyquist(self) -> Self:
        if self.features.frontend.f_max > self.data.sample_rate / 2:
            raise ValueError(
                f"features.frontend.f_max must not exceed half of data.sample_rate ({self.data.sample_rate})"
            )
        return self

    @property
    def slug(self) -> str:
        """The phrase as a file and registry name."""
        return re.sub(r"[^a-z0-9]+", "_", self.phrase.lower()).strip("_") or "wakeword"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order of class index: negatives first, then every wake word."""
        words = {source.label or self.phrase for source in self.data.sources if source.role == "positive"}
        return (NEGATIVE_LABEL, *sorted(words | {self.phrase} if self.synthesis.enabled or not words else words))

    def subset(self, *fields: str) -> dict[str, Any]:
        """The named dotted fields as JSON values: the part of the configuration that a stage depends on."""
        whole = self.model_dump(mode="json")
        chosen: dict[str, Any] = {}
        for name in fields:
            value: Any = whole
            for part in name.split("."):
                value = value[part]
            chosen[name] = value
        return chosen
