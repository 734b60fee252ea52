"""Every setting of the project, typed, bounded and described; nothing else in the code holds a tunable number."""

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.automation import AutomationConfig
from wakeword_core.config.base import NEGATIVE_LABEL, ROLES, SPLITS, Role, Settings, Split
from wakeword_core.config.checks import ChecksConfig
from wakeword_core.config.evaluation import CalibrationConfig, DetectorConfig, EvaluationConfig, TuningConfig
from wakeword_core.config.features import AugmentConfig, FeaturesConfig, FrontendConfig
from wakeword_core.config.mining import MiningConfig
from wakeword_core.config.models import (
    BcResNetConfig,
    CdDnnConfig,
    ConformerConfig,
    CrnnConfig,
    DsCnnConfig,
    MixedNetConfig,
    MobileNetV3Config,
    ModelConfig,
    ResNet18Config,
    ResNet34Config,
    TcnConfig,
    TinyConvConfig,
)
from wakeword_core.config.recordings import DataConfig, ShardsConfig, SourceConfig, SynthesisConfig, wake_words
from wakeword_core.config.registry import RegistryConfig
from wakeword_core.config.serving import CascadeConfig, ServingConfig
from wakeword_core.config.training import LossConfig, SpecAugmentConfig, TrainAugmentConfig, TrainingConfig, ValMetric

__all__ = [
    "NEGATIVE_LABEL",
    "ROLES",
    "SPLITS",
    "AugmentConfig",
    "AutomationConfig",
    "BcResNetConfig",
    "CalibrationConfig",
    "CascadeConfig",
    "CdDnnConfig",
    "ChecksConfig",
    "Config",
    "ConformerConfig",
    "CrnnConfig",
    "DataConfig",
    "DetectorConfig",
    "DsCnnConfig",
    "EvaluationConfig",
    "ExportConfig",
    "FeaturesConfig",
    "FrontendConfig",
    "LossConfig",
    "MiningConfig",
    "MixedNetConfig",
    "MobileNetV3Config",
    "ModelConfig",
    "Platform",
    "RegistryConfig",
    "ResNet18Config",
    "ResNet34Config",
    "Role",
    "ServingConfig",
    "Settings",
    "ShardsConfig",
    "SourceConfig",
    "SpecAugmentConfig",
    "Split",
    "SynthesisConfig",
    "TcnConfig",
    "TinyConvConfig",
    "TrainAugmentConfig",
    "TrainingConfig",
    "TuningConfig",
    "ValMetric",
    "wake_words",
]


Platform = Literal[
    "esp32_s3", "esp32_s3_psram", "rp2040", "nano_33_ble", "rpi_zero_2", "rpi_4", "rpi_5", "phone", "server"
]


class ExportConfig(Settings):
    """How the model ships."""

    opset: int = Field(18, ge=17, le=23, description="ONNX operator set.")
    parity_tolerance: float = Field(
        1e-4, gt=0, le=1e-2, description="Largest difference between ONNX and torch scores."
    )
    int8_calibration_windows: int = Field(512, ge=8, le=100_000, description="Training windows that set INT8 ranges.")
    int8_max_ratio: float = Field(0.35, gt=0, le=1, description="Largest INT8 size as a share of fp32.")
    int8_max_f1_drop: float = Field(
        0.01, ge=0, le=1, description="Largest loss of F1 on the test split, in INT8 and in float16."
    )
    platform: Platform | None = Field(None, description="Device that the model has to fit on; null: any.")


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
    mining: MiningConfig = MiningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    registry: RegistryConfig = RegistryConfig()
    automation: AutomationConfig = AutomationConfig()
    checks: ChecksConfig = ChecksConfig()
    serving: ServingConfig = ServingConfig()

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

    @model_validator(mode="after")
    def _room_for_the_word(self) -> Self:
        features = self.features
        context = features.context_frames * features.frontend.hop_length / self.data.sample_rate
        if 0 < context < features.tail_seconds + features.jitter_seconds:
            raise ValueError(
                f"features.context_frames must be 0 or hold tail_seconds + jitter_seconds, "
                f"but {features.context_frames} frames are {context:g} s"
            )
        return self

    @model_validator(mode="after")
    def _front_end_and_augmentation_fit(self) -> Self:
        kind = self.features.frontend.kind
        if kind == "mel_db" and self.features.context_frames:
            raise ValueError("features.frontend.kind mel_db is clamped by the window: set features.context_frames=0")
        if kind != "log_mel" and self.training.augment.changes_something:
            raise ValueError(
                f"training.augment changes log-mels, but features.frontend.kind is {kind}: set its "
                "noise_probability, band_warp, colour_db, isolate_probability and gain_db to 0"
            )
        return self

    @model_validator(mode="after")
    def _mined_clips_are_drawn(self) -> Self:
        training = self.training
        if self.mining.enabled and training.sampler != "plain" and training.mix[2] == 0:
            raise ValueError(
                "mining finds hard negatives, which have no share of a batch: raise the third of training.mix"
            )
        return self

    @model_validator(mode="after")
    def _weights_of_classes_that_are_there(self) -> Self:
        weights = self.training.loss.class_weights
        unknown = sorted(set(weights) - set(self.labels)) if isinstance(weights, dict) else []
        if unknown:
            known = ", ".join(self.labels)
            raise ValueError(f"training.loss.class_weights names {unknown[0]!r}, but the classes are {known}")
        return self

    @property
    def slug(self) -> str:
        """The phrase as a file and registry name."""
        return re.sub(r"[^a-z0-9]+", "_", self.phrase.lower()).strip("_") or "wakeword"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order of class index: negatives first, then every wake word."""
        words = wake_words(self.data.sources, self.phrase)
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
