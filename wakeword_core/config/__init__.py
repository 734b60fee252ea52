"""Every setting of the project, typed, bounded and described. Nothing else in the code holds a tunable number."""

import re
from operator import attrgetter
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.automation import AutomationConfig
from wakeword_core.config.base import (
    LONGEST_PHRASE,
    NEGATIVE_LABEL,
    ROLES,
    SPLITS,
    AccentName,
    MannerName,
    Role,
    Settings,
    Split,
    decides,
    deciding,
    lookup,
)
from wakeword_core.config.checks import ChecksConfig
from wakeword_core.config.compute import ComputeConfig
from wakeword_core.config.evaluation import CalibrationConfig, DetectorConfig, EvaluationConfig
from wakeword_core.config.export import ExportConfig, Platform
from wakeword_core.config.features import MICRO_RATE, AugmentConfig, FeaturesConfig, FrontendConfig
from wakeword_core.config.judge import JUDGE_RATE, JudgeConfig
from wakeword_core.config.layers import CustomConfig
from wakeword_core.config.losses import LossConfig
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
from wakeword_core.config.recordings import (
    DataConfig,
    ShardsConfig,
    SourceConfig,
    speakable,
    spelling,
    wake_words,
)
from wakeword_core.config.registry import RegistryConfig
from wakeword_core.config.remote import RemoteConfig
from wakeword_core.config.search import SearchConfig
from wakeword_core.config.serving import CascadeConfig, Device, KeepConfig, ServingConfig, tcp_address
from wakeword_core.config.synthesis import SynthesisConfig
from wakeword_core.config.tracking import TrackingConfig
from wakeword_core.config.train_augment import UNCHANGED, SpecAugmentConfig, TrainAugmentConfig
from wakeword_core.config.training import ScheduleConfig, TeacherConfig, TrainingConfig, ValMetric
from wakeword_core.files import digest

_DIGITS = 8
"""Of the digest in a name, by which phrases of one slug are told apart."""


class Config(Settings):
    """A wake-word project."""

    phrase: str = Field("hey robin", min_length=1, max_length=LONGEST_PHRASE, description="The wake word or phrase.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random.")
    data: DataConfig = DataConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    shards: ShardsConfig = ShardsConfig()
    features: FeaturesConfig = FeaturesConfig()
    training: TrainingConfig = TrainingConfig()
    mining: MiningConfig = MiningConfig()
    judge: JudgeConfig = JudgeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    registry: RegistryConfig = RegistryConfig()
    search: SearchConfig = SearchConfig()
    remote: RemoteConfig = RemoteConfig()
    tracking: TrackingConfig = TrackingConfig()
    automation: AutomationConfig = AutomationConfig()
    checks: ChecksConfig = ChecksConfig()
    serving: ServingConfig = ServingConfig()
    compute: ComputeConfig = ComputeConfig()

    @property
    def training_seed(self) -> int:
        """The seed of what is random in training, as opposed to data."""
        return self.seed if self.training.seed is None else self.training.seed

    @field_validator("phrase")
    @classmethod
    def _speakable(cls, phrase: str) -> str:
        return speakable(phrase)

    @model_validator(mode="after")
    def _phrases_differ(self) -> Self:
        if spelling(self.phrase) in map(spelling, self.synthesis.phrases):
            raise ValueError(f"synthesis.phrases names {self.phrase!r}, which is the phrase itself; leave it out there")
        return self

    @model_validator(mode="before")
    @classmethod
    def _only_log_mels_are_changed_unasked(cls, values: Any) -> Any:
        training, augment = lookup(values, "training", {}), lookup(values, "training.augment", {})
        known = isinstance(training, dict) and isinstance(augment, dict)
        if lookup(values, "features.frontend.kind", "log_mel") == "log_mel" or not known:
            return values
        return {**values, "training": {**training, "augment": {**UNCHANGED, **augment}}}

    @model_validator(mode="after")
    def _micro_hears_its_rate(self) -> Self:
        if self.features.frontend.kind == "micro" and self.data.audio.sample_rate != MICRO_RATE:
            raise ValueError(f"data.audio.sample_rate must be {MICRO_RATE} with features.frontend.kind micro")
        return self

    @model_validator(mode="after")
    def _band_below_nyquist(self) -> Self:
        rate = self.data.audio.sample_rate
        if self.features.frontend.f_max > rate / 2:
            raise ValueError(f"features.frontend.f_max must not exceed half of data.audio.sample_rate ({rate})")
        return self

    @model_validator(mode="after")
    def _room_for_the_word(self) -> Self:
        features = self.features
        context = features.context.frames * features.frontend.hop_length / self.data.audio.sample_rate
        if 0 < context < features.windows.tail_seconds + features.context.jitter_seconds:
            raise ValueError(
                f"features.context.frames must be 0 or hold features.windows.tail_seconds + "
                f"features.context.jitter_seconds, but {features.context.frames} frames are {context:g} s"
            )
        return self

    @model_validator(mode="after")
    def _layers_fit_the_window(self) -> Self:
        if isinstance(self.training.model, CustomConfig):
            self.training.model.shapes(self.features.frontend.bands, self.features.frontend.window_frames)
        return self

    @model_validator(mode="after")
    def _front_end_and_augmentation_fit(self) -> Self:
        kind = self.features.frontend.kind
        if kind == "mel_db" and self.features.context.frames:
            raise ValueError("features.frontend.kind mel_db is clamped by the window: set features.context.frames=0")
        if unfit := self.training.augment.unfit_for(kind):
            raise ValueError(
                f"{' and '.join(unfit)} of training.augment cannot change the features of features.frontend.kind "
                f"{kind}: set {'it' if len(unfit) == 1 else 'them'} to 0"
            )
        return self

    @model_validator(mode="after")
    def _mined_clips_are_drawn(self) -> Self:
        sampling = self.training.sampling
        if self.mining.enabled and sampling.kind != "plain" and sampling.mix[2] == 0:
            raise ValueError(
                "mining finds hard negatives, which have no share of a batch: raise the third of training.sampling.mix"
            )
        return self

    @model_validator(mode="after")
    def _judge_hears_its_rate(self) -> Self:
        rate, wanted = self.data.audio.sample_rate, self.judge_wanted_by
        if wanted and rate != JUDGE_RATE:
            raise ValueError(
                f"{wanted} need{'' if ' and ' in wanted else 's'} data.audio.sample_rate {JUDGE_RATE}, that of its "
                f"embedding, and not {rate}: change the rate, or set {wanted} to false"
            )
        return self

    @model_validator(mode="after")
    def _openwakeword_computes_the_embedding(self) -> Self:
        if self.export.openwakeword.enabled and self.judge.encoder != "speech_embedding":
            raise ValueError(
                "export.openwakeword.enabled needs judge.encoder speech_embedding, since openWakeWord computes that: "
                "set one of them back"
            )
        return self

    @model_validator(mode="after")
    def _processes_share_batches(self) -> Self:
        processes, windows = self.compute.processes, self.training.sampling.batch_size
        if processes > windows:
            raise ValueError(f"compute.processes is {processes}, but a batch has {windows} windows to share")
        if processes > 1 and self.training.loss.metric == "triplet":
            raise ValueError(
                "training.loss.metric triplet looks for triplets in a whole batch: set compute.processes to 1"
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
        """The phrase as a plain file name, which other phrases may have too."""
        return _slug(self.phrase)

    @property
    def unique_name(self) -> str:
        """The name of the phrase's registry, of its model in MLflow and of files."""
        return unique_name(self.phrase)

    @property
    def judge_wanted_by(self) -> str:
        """The settings for which a judge is made, that the model asks it or for openWakeWord; empty without one."""
        wanted = {"judge.enabled": self.judge.enabled, "export.openwakeword.enabled": self.export.openwakeword.enabled}
        return " and ".join(name for name, enabled in wanted.items() if enabled)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in order of class index: negatives first, then every wake word."""
        words = wake_words(self.data.sources, self.phrase)
        if self.synthesis.enabled:
            spelled = set(map(spelling, words))
            words |= {word for word in (self.phrase, *self.synthesis.phrases) if spelling(word) not in spelled}
        return (NEGATIVE_LABEL, *sorted(words or {self.phrase}))

    def subset(self, *branches: str) -> dict[str, Any]:
        """Return the named dotted branches as JSON values: the part of the configuration that a stage depends on.

        What is marked as deciding nothing is left out. `labels` may be named beside the settings that they follow
        from. Raises ValueError for what never decides, and AttributeError for what there is not.
        """
        for branch in branches:
            if branch.split(".")[0] == "compute":
                raise ValueError(f"{branch} changes no result, so that nothing depends on it")
        return {branch: deciding(attrgetter(branch)(self)) for branch in branches if self._decides(branch)}

    def _decides(self, branch: str) -> bool:
        group, _, name = branch.rpartition(".")
        return decides(attrgetter(group)(self) if group else self, name, named=True)


def unique_name(phrase: str) -> str:
    """Return a phrase as a file name that no other phrase has.

    "caf" and "café" have one slug, and so have all phrases without a letter from a to z.
    """
    slug = _slug(phrase)
    plain = slug.replace("_", " ") == phrase.lower()
    return slug if plain else f"{slug}-{digest(phrase)[:_DIGITS]}"


def _slug(phrase: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", phrase.lower()).strip("_") or "wakeword"
