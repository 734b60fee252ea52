"""Settings of features: the front end, windows, rows and augmented views."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from wakeword_core.config.base import Decibels, DecidesIf, ReverberationSeconds, Settings, Split
from wakeword_core.config.plugins import AugmentationPlugin, FrontEndPlugin

MICRO_RATE = 16_000
"""Samples a second that the front end of microcontrollers hears."""
_MICRO = {"n_fft": 480, "win_length": 480, "hop_length": 160, "n_mels": 40, "f_min": 125.0, "f_max": 7_500.0}
"""How it is made; the device knows no other numbers."""
_LEAD_IN_SAMPLES = 2 * MICRO_RATE
"""What a stream was like longer ago is no more in its features."""


class FrontendConfig(Settings):
    """How sound becomes frames of numbers, the same in training, in the exported model and on the device."""

    kind: Literal["log_mel", "mel_db", "mfcc", "micro", "plugin"] = Field(
        "log_mel",
        description="Logarithms of mel bands; or decibels, clamped below the loudest of a window; or cepstra of them; "
        "or the features of microcontrollers; or n_mels numbers of another package.",
    )
    plugin: Annotated[FrontEndPlugin | None, DecidesIf(lambda frontend: frontend.kind == "plugin")] = Field(
        None, description="For plugin: which front end of which package."
    )
    n_fft: int = Field(512, ge=64, le=8_192, description="Samples a Fourier transform.")
    win_length: int = Field(480, ge=32, le=8_192, description="Samples a Hann window (30 ms at 16 kHz).")
    hop_length: int = Field(160, ge=16, le=4_096, description="Samples between frames (10 ms at 16 kHz).")
    n_mels: int = Field(64, ge=8, le=256, description="Mel bands.")
    f_min: float = Field(60.0, ge=0, description="Lowest frequency in Hz.")
    f_max: float = Field(7_600.0, gt=0, description="Highest frequency in Hz.")
    log_floor: float = Field(
        1e-6, gt=0, description="Added to mel power before the logarithm; for mel_db the least power instead."
    )
    top_db: Annotated[float, DecidesIf(lambda frontend: frontend.kind == "mel_db")] = Field(
        80.0, gt=0, le=200, description="For mel_db: a window's range below its loudest value."
    )
    n_mfcc: Annotated[int, DecidesIf(lambda frontend: frontend.kind == "mfcc")] = Field(
        40, ge=1, le=256, description="For mfcc: cepstral coefficients, the first ones."
    )
    window_frames: int = Field(151, ge=16, le=2_000, description="Frames a window: 151 is 1.5 s at a 10 ms hop.")

    @property
    def bands(self) -> int:
        """How many numbers a frame has."""
        return self.n_mfcc if self.kind == "mfcc" else self.n_mels

    @property
    def on_cpu_alone(self) -> bool:
        """Whether no GPU computes it: in whole numbers of the device, or in another package's numpy."""
        return self.kind in ("micro", "plugin")

    @property
    def in_onnx(self) -> bool:
        """Whether a graph can hold it, so that a model can stream by itself."""
        return self.kind not in ("micro", "plugin")

    def frames(self, seconds: float, sample_rate: int) -> int:
        """Return the whole number of hops that is nearest to so many seconds."""
        return round(seconds * sample_rate / self.hop_length)

    @property
    def window_samples(self) -> int:
        """How many samples give exactly `window_frames` frames without padding."""
        return (self.window_frames - 1) * self.hop_length + self.n_fft

    @property
    def lead_in_samples(self) -> int:
        """How many samples before a window its features depend on as well."""
        return _LEAD_IN_SAMPLES if self.kind == "micro" else 0

    @model_validator(mode="before")
    @classmethod
    def _made_as_on_microcontrollers(cls, values: Any) -> Any:
        return {**_MICRO, **values} if isinstance(values, dict) and values.get("kind") == "micro" else values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, number in _MICRO.items():
            if self.kind == "micro" and getattr(self, name) != number:
                raise ValueError(f"{name} must be {number:g} with kind micro, whose numbers are those of the device")
        if self.kind == "plugin" and self.plugin is None:
            raise ValueError("kind plugin needs the name of a front end: set plugin.name")
        if self.win_length > self.n_fft:
            raise ValueError("win_length must not exceed n_fft")
        if self.f_min >= self.f_max:
            raise ValueError("f_min must be below f_max")
        if self.kind == "mfcc" and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc must not exceed n_mels ({self.n_mels})")
        return self


class WindowsConfig(Settings):
    """Where windows lie around the word or the sound that they hold."""

    tail_seconds: float = Field(0.1, ge=0, le=1, description="Sound kept after the end of the word in clean views.")
    edge_seconds: float = Field(
        0.4, ge=0.05, le=10, description="Sound at the end of a long negative's first window, which begins with quiet."
    )


class ContextConfig(Settings):
    """Sound that a training row holds besides its window."""

    frames: int = Field(
        150,
        ge=0,
        le=2_000,
        description="Frames that a training row holds besides a window, to be scored at every step.",
    )
    jitter_seconds: float = Field(0.2, ge=0, le=1, description="Least sound kept after the word, besides the tail.")


class RowsConfig(Settings):
    """Which windows of long recordings become rows, and how rows are stored."""

    negative_hop_seconds: float = Field(
        1.0, ge=0.01, le=60, description="Step between windows of a long negative; in training the step is the context."
    )
    max_windows: int = Field(400, ge=1, le=100_000, description="Most windows taken from one recording.")
    dtype: Literal["float16", "float32"] = Field("float16", description="Number format of stored features.")


_LowEdge = Annotated[float, Field(ge=50, le=1_000)]
_HighEdge = Annotated[float, Field(ge=2_000, le=24_000)]
_Factor = Annotated[float, Field(ge=0.5, le=2)]
_Overload = Annotated[float, Field(gt=0, le=40)]
_WITH_DEVICES = DecidesIf(lambda augment: bool(augment.device_probability))
_OTHER_LEVELS = DecidesIf(lambda augment: augment.level_dbfs is not None)
_WITH_DRY_SOUND = DecidesIf(lambda augment: augment.room_share != (1.0, 1.0))
_Level = Annotated[float, Field(ge=-60, le=-10)]
_Share = Annotated[float, Field(ge=0, le=1)]
_WITH_TEMPO = DecidesIf(lambda augment: bool(augment.tempo_probability))
_WITH_PITCH = DecidesIf(lambda augment: bool(augment.pitch_probability))
_Semitones = Annotated[float, Field(ge=-12, le=12)]
_WITH_PLUGINS = DecidesIf(lambda augment: bool(augment.plugins))


class AugmentConfig(Settings):
    """Views of each training window: how many, and what an augmented one may do to a recording.

    Every probability at 0 leaves a recording as it is.
    """

    views: int = Field(4, ge=1, le=64, description="Views of each training window; the first is clean.")
    negative_views: int = Field(2, ge=1, le=64, description="Views of each window that is not a positive.")
    real_views: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Views of a real positive whose wake word has synthetic positives in training too; null: as views.",
    )
    gain_db: tuple[Decibels, Decibels] = Field((-12.0, 6.0), description="Gain, from and to.")
    level_dbfs: Annotated[tuple[_Level, _Level] | None, _OTHER_LEVELS] = Field(
        None,
        description="RMS level that a view is brought to before noise and gain, from and to; null: that of its "
        "recording. The first view, and what is silent, stay as they are.",
    )
    noise_probability: float = Field(0.7, ge=0, le=1, description="How often noise is mixed in.")
    noise_minutes: float = Field(30.0, gt=0, le=600, description="Recorded noise and background kept to mix in.")
    generated_noise_minutes: float = Field(10.0, ge=0, le=120, description="Generated noise to mix in as well.")
    snr_db: tuple[Decibels, Decibels] = Field((0.0, 25.0), description="Signal to noise ratio, from and to.")
    rir_probability: float = Field(0.5, ge=0, le=1, description="How often a room is applied.")
    room_share: Annotated[tuple[_Share, _Share], _WITH_DRY_SOUND] = Field(
        (1.0, 1.0), description="Share of the room in what is heard, from and to; the rest is the sound without it."
    )
    generated_rirs: int = Field(64, ge=0, le=4_096, description="Rooms generated when no recordings of rooms exist.")
    rt60_seconds: tuple[ReverberationSeconds, ReverberationSeconds] = Field(
        (0.15, 0.7), description="Reverberation time of generated rooms, from and to."
    )
    speed_probability: float = Field(0.6, ge=0, le=1, description="How often speed (and pitch with it) changes.")
    speed: tuple[_Factor, _Factor] = Field((0.9, 1.1), description="Speed factor, from and to.")
    tempo_probability: Annotated[float, _WITH_TEMPO] = Field(
        0.0, ge=0, le=1, description="How often sound goes by faster or slower and keeps its pitch (time stretch)."
    )
    tempo: Annotated[tuple[_Factor, _Factor], _WITH_TEMPO] = Field(
        (0.85, 1.2), description="Factor of the tempo, from and to, besides that of the speed."
    )
    pitch_probability: Annotated[float, _WITH_PITCH] = Field(
        0.0, ge=0, le=1, description="How often sound is higher or lower, formants too, and keeps its tempo."
    )
    pitch_semitones: Annotated[tuple[_Semitones, _Semitones], _WITH_PITCH] = Field(
        (-2.0, 2.0), description="Semitones by which it is higher, from and to, besides what the speed does."
    )
    device_probability: Annotated[float, _WITH_DEVICES] = Field(
        0.0, ge=0, le=1, description="How often a view is heard through some microphone, codec or telephone."
    )
    device_colour_db: Annotated[float, _WITH_DEVICES] = Field(
        8.0, ge=0, le=24, description="Most that a microphone raises or lowers a frequency, in dB."
    )
    device_low_cut_hz: Annotated[tuple[_LowEdge, _LowEdge], _WITH_DEVICES] = Field(
        (80.0, 300.0), description="Below which frequency a microphone hears little, from and to."
    )
    device_high_cut_hz: Annotated[tuple[_HighEdge, _HighEdge], _WITH_DEVICES] = Field(
        (4_000.0, 7_000.0), description="Above which frequency a codec leaves out everything, from and to."
    )
    device_overload_db: Annotated[tuple[_Overload, _Overload], _WITH_DEVICES] = Field(
        (3.0, 15.0), description="How far the loudest sample goes beyond where an overloaded device clips, from and to."
    )
    plugins: Annotated[tuple[AugmentationPlugin, ...], _WITH_PLUGINS] = Field(
        (), max_length=20, description="Augmentations of other packages, one after the other, after all else."
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        self.require_ordered("gain_db", "snr_db", "rt60_seconds", "speed", "tempo", "room_share")
        self.require_ordered("pitch_semitones")
        if self.level_dbfs is not None:
            self.require_ordered("level_dbfs")
        self.require_ordered("device_low_cut_hz", "device_high_cut_hz", "device_overload_db")
        return self


class FeaturesConfig(Settings):
    """How windows are cut, augmented and stored."""

    frontend: FrontendConfig = FrontendConfig()
    windows: WindowsConfig = WindowsConfig()
    context: ContextConfig = ContextConfig()
    rows: RowsConfig = RowsConfig()
    augment: AugmentConfig = AugmentConfig()

    def row_frames(self, split: Split) -> int:
        """Count the frames of a stored row: a window, and in training its context."""
        return self.frontend.window_frames + (self.context.frames if split == "train" else 0)

    def row_samples(self, split: Split) -> int:
        """Count the samples that give exactly `row_frames` frames without padding."""
        return (self.row_frames(split) - 1) * self.frontend.hop_length + self.frontend.n_fft

    def heard_samples(self, split: Split) -> int:
        """Count the samples that the features of a row are computed from: its own, and the lead-in before them."""
        return self.frontend.lead_in_samples + self.row_samples(split)

    def row_bytes(self, split: Split) -> int:
        """Count the bytes of the features of a stored row."""
        width = 2 if self.rows.dtype == "float16" else 4
        return self.row_frames(split) * self.frontend.bands * width
