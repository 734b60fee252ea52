"""Settings of training: the model, its optimizer, schedule, batches, teachers and beginning."""

from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import DECIDES_NOTHING, DecidesIf, ModelName, Settings
from wakeword_core.config.losses import LossConfig
from wakeword_core.config.models import ModelConfig, TcnConfig, architecture, scores_every_step
from wakeword_core.config.train_augment import SpecAugmentConfig, TrainAugmentConfig

Normalisation = Literal["corpus", "window", "off"]
ValMetric = Literal["pauc", "loss", "f1", "frr"]

_MOST_LAYERS = 1_000


class OptimizerConfig(Settings):
    """How gradients move the weights."""

    kind: Literal["adamw", "adam", "sgd", "muon"] = Field(
        "adamw", description="AdamW, Adam, SGD with Nesterov's momentum, or Muon for matrices with AdamW for the rest."
    )
    weight_decay: float = Field(1e-2, ge=0, le=1, description="Weight decay; not on norms and biases.")
    momentum: float = Field(0.95, ge=0, lt=1, description="Momentum of SGD and Muon.")
    clip_norm: float = Field(5.0, gt=0, description="Gradients with a larger norm are scaled down to it.")
    adaptive_clip: float = Field(
        0.0,
        ge=0,
        description="Also scaled down to this many times the median norm of the last steps, such as 5; 0: not.",
    )


class ScheduleConfig(Settings):
    """How long a training is, and its learning rate over time."""

    epochs: int = Field(20, ge=1, le=10_000, description="Epochs at most.")
    learning_rate: float | Literal["auto"] = Field(
        3e-3,
        description="Peak learning rate, above 0 and at most 1; auto: what `wakeword lr-find` suggests.",
    )
    kind: Literal["cosine", "one_cycle", "step", "plateau", "constant"] = Field(
        "cosine", description="What the learning rate does after its warm-up."
    )
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="Share of all steps in which the rate rises.")
    final_lr_fraction: float = Field(
        0.01, ge=0, le=1, description="Rate at the end of the cosine, as a share of the peak."
    )
    drop_at: tuple[float, ...] = Field(
        (0.5, 0.75), description="For 'step': where the rate drops, as shares of the steps after warm-up."
    )
    drop_factor: float = Field(
        0.3, gt=0, lt=1, description="For 'step' and 'plateau': share of the rate that is left after a drop."
    )
    plateau_patience: int = Field(
        3, ge=1, le=1_000, description="For 'plateau': epochs without a better score before a drop."
    )

    @property
    def peak(self) -> float:
        """The peak learning rate, which must have been found by now."""
        assert self.learning_rate != "auto", "a rate has to be found first"
        return self.learning_rate

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _a_rate_or_auto(cls, value: Any) -> Any:
        if value == "auto":
            return value
        with suppress(ValueError, TypeError):  # as text, too, since YAML takes 1e-3 for one
            if not isinstance(value, bool) and 0 < float(value) <= 1:
                return float(value)
        raise ValueError("must be auto, or a number above 0 and at most 1")

    @model_validator(mode="after")
    def _drops_in_order(self) -> Self:
        if any(not 0 < place < 1 for place in self.drop_at) or list(self.drop_at) != sorted(self.drop_at):
            raise ValueError("drop_at needs growing shares between 0 and 1")
        return self


class SamplingConfig(Settings):
    """Which windows make an epoch and a batch."""

    kind: Literal["balanced", "difficulty", "plain"] = Field(
        "balanced",
        description="Batches in the shares of mix; the same, with windows in proportion to how wrong the model was "
        "about them; or all windows in random order.",
    )
    batch_size: int = Field(128, ge=2, le=65_536, description="Windows a batch.")
    micro_batch: int = Field(
        0,
        ge=0,
        le=65_536,
        description="Windows of a batch that a process computes at once, 2 or more, adding up gradients; 0: all.",
    )
    steps_per_epoch: int = Field(0, ge=0, le=1_000_000, description="Batches an epoch; 0: once through the negatives.")
    max_steps_per_epoch: int = Field(
        400, ge=1, le=1_000_000, description="Most batches an epoch with steps_per_epoch 0."
    )
    mix: tuple[float, float, float] = Field(
        (0.3, 0.5, 0.2), description="Shares of positives, negatives and hard negatives in a batch."
    )
    clean_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of clean views in an epoch, for every kind of window; null: as many as there are; 1: only "
        "clean views, also of the noise that is mixed in.",
    )
    real_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of real windows among the positives of a batch, for wake words with real and synthetic "
        "ones; null: as many as there are. Not with 'plain'.",
    )
    difficulty_floor: float = Field(
        0.1,
        gt=0,
        le=1,
        description="For 'difficulty': how often a window that the model is right about is drawn, relative to one "
        "that it is wrong about.",
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.micro_batch == 1:
            raise ValueError("micro_batch is 1, and batch norms need two windows at once: set 2 or more, or 0")
        if any(share < 0 for share in self.mix) or self.mix[0] <= 0 or self.mix[0] >= sum(self.mix):
            raise ValueError("mix needs a positive share for positives and for at least one kind of negative")
        return self


class EmaConfig(Settings):
    """The exponential moving average of weights, which is what becomes the model."""

    decay: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="Decay of the average; at first (1 + step) / (10 + step), while that is less; 0: no average.",
    )
    final_decay: float | None = Field(
        None, ge=0, lt=1, description="Decay that is reached at the end, such as 0.9995; null: it stays the same."
    )
    final_fraction: float = Field(0.2, gt=0, le=1, description="Share of the last steps over which the decay rises.")


class ValidationConfig(Settings):
    """How the model is judged on validation, and which epoch's weights are kept."""

    metric: ValMetric = Field(
        "pauc", description="The validation score: partial ROC-AUC, the loss, F1, or misses at false_alarms_per_hour."
    )
    max_fpr: float = Field(
        0.1, gt=0, le=1, description="False positive rate up to which the partial ROC-AUC is measured."
    )
    false_alarms_per_hour: float = Field(
        0.5, ge=0, le=3_600, description="With metric 'frr': windows an hour that may be taken for a word."
    )
    keep: Literal["last", "best"] = Field(
        "last", description="Which epoch's averaged weights are the model: the last, or the best on validation."
    )
    patience: int = Field(
        8, ge=1, le=10_000, description="With keep 'best': epochs without a better validation score before stopping."
    )
    keep_every: int = Field(0, ge=0, le=10_000, description="The model is also kept every so many epochs; 0: never.")


class PrecisionConfig(Settings):
    """Number and memory formats of training on CUDA."""

    amp: bool = Field(True, description="Autocast to amp_dtype on CUDA; no effect on a CPU.")
    amp_dtype: Literal["bfloat16", "float16"] = Field(
        "bfloat16", description="Number format of autocast; float16 comes with a gradient scaler."
    )
    channels_last: bool = Field(True, description="Use that memory format for 2-D models on CUDA, except with Muon.")
    tf32: Annotated[Literal["torch", "on", "off"], DecidesIf(lambda precision: precision.tf32 != "torch")] = Field(
        "torch",
        description="Whether float32 products on CUDA are rounded to 10 bits, which is faster; torch: as torch has it, "
        "those of convolutions alone.",
    )


THE_CHAMPION = "champion"
"""As a model to start from: whichever model of the phrase is champion, or none while there is none."""


class TeacherConfig(Settings):
    """Finished models whose scores a model learns besides its labels (distillation: Hinton et al. 2015)."""

    # the bytes of the models decide, wherever they lie: they are inputs of the stage
    models: Annotated[tuple[ModelName, ...], DECIDES_NOTHING] = Field(
        (),
        max_length=8,
        description="Teachers: keys of this home, folders or .onnx files of models, also a judge.onnx; none: no "
        "teacher.",
    )
    weights: tuple[Annotated[float, Field(gt=0, le=1_000)], ...] = Field(
        (), description="How much each teacher counts, in the order of models; empty: all alike."
    )
    share: float = Field(
        0.5, ge=0, le=1, description="Share of the loss that the teachers have; the labels have the rest."
    )
    temperature: float = Field(
        2.0, ge=0.5, le=20, description="What log-odds of teacher and student are divided by where they are compared."
    )
    step_frames: Annotated[int, DECIDES_NOTHING] = Field(
        3, ge=1, le=64, description="Frames from one score of a teacher to the next; a model's own stride is best."
    )

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(
                f"weights has {len(self.weights)} numbers for {len(self.models)} models; give one for each, or none"
            )
        return self


class QuantizationConfig(Settings):
    """The end of a training in which the network is rounded as its 8-bit integers are (Jacob et al. 2018)."""

    epochs: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Last epochs in which it is rounded, for microcontrollers and INT8; 0: none, which leaves rounding "
        "to the export. It needs what export.tflite needs.",
    )
    rows: int = Field(512, ge=8, le=100_000, description="Training windows that set how activations are rounded.")


_IF_STARTED = DecidesIf(lambda training: training.start_from is not None)


class TrainingConfig(Settings):
    """How one model is trained."""

    seed: Annotated[int | None, DecidesIf(lambda training: training.seed is not None)] = Field(
        None,
        ge=0,
        lt=2**31,
        description="Seed of weights, batches and the judge's heads, to train again on the same data; null: `seed`.",
    )
    model: ModelConfig = TcnConfig()
    normalisation: Annotated[Normalisation, DecidesIf(lambda training: training.normalisation != "corpus")] = Field(
        "corpus",
        description="What features are normalised by: the means and deviations of the training split; besides these, "
        "each window by its own, for networks that see whole windows; or nothing.",
    )
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    sampling: SamplingConfig = SamplingConfig()
    augment: TrainAugmentConfig = TrainAugmentConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    ema: EmaConfig = EmaConfig()
    validation: ValidationConfig = ValidationConfig()
    precision: PrecisionConfig = PrecisionConfig()
    teacher: Annotated[TeacherConfig, DecidesIf(lambda training: bool(training.teacher.models))] = TeacherConfig()
    quantization: Annotated[QuantizationConfig, DecidesIf(lambda training: bool(training.quantization.epochs))] = (
        QuantizationConfig()
    )
    start_from: Annotated[ModelName | None, DECIDES_NOTHING] = Field(
        None,
        description="Model to train further: a key of this home, its folder, or champion, the model in production if "
        "there is one; null: begin with random weights.",
    )
    freeze: Annotated[int | tuple[str, ...], _IF_STARTED] = Field(
        0,
        description="Layers of start_from that stay as they are: how many from the first on, or their names, such as "
        "[stem, blocks.0].",
    )
    start_rate: Annotated[float, _IF_STARTED] = Field(
        0.2, gt=0, le=1, description="Share of schedule.learning_rate that a training from start_from has as its peak."
    )

    @property
    def start_share(self) -> float:
        """The share of the configured peak of the learning rate that this training has."""
        return 1.0 if self.start_from is None else self.start_rate

    @field_validator("freeze", mode="before")
    @classmethod
    def _a_number_or_names(cls, value: Any) -> Any:
        counted = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_LAYERS
        if counted or (isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)):
            return value
        raise ValueError(f"must be a number of layers, 0 to {_MOST_LAYERS:,}, or a list of their names")

    @model_validator(mode="after")
    def _has_windows(self) -> Self:
        if self.normalisation == "window" and scores_every_step(self.model):
            raise ValueError(
                f"normalisation window needs whole windows, but a network of arch {architecture(self.model)} scores "
                "every step of a stream: set it to corpus, or choose another network"
            )
        return self

    @model_validator(mode="after")
    def _starts_somewhere(self) -> Self:
        if self.freeze and self.start_from is None:
            raise ValueError("freeze keeps layers of start_from: name a model there, or set freeze to 0")
        return self

    @model_validator(mode="after")
    def _rounds_what_is_kept(self) -> Self:
        if self.quantization.epochs and self.validation.keep == "best":
            raise ValueError(
                "quantization is for the last epochs, which are not kept where validation.keep is best: set that to "
                "last, or quantization.epochs to 0"
            )
        return self

    @model_validator(mode="after")
    def _teachers_know_rows_as_stored(self) -> Self:
        if self.teacher.models and self.augment.shift_frames > 0:
            raise ValueError(
                "augment.shift_frames moves rows away from what their teacher said: set it to 0, or teacher.models "
                "to []"
            )
        return self

    @model_validator(mode="after")
    def _metric_learning_fits(self) -> Self:
        sampling = self.sampling
        if self.loss.metric != "none" and self.augment.mixup_alpha > 0:
            raise ValueError(
                "loss.metric judges rows of one label: set augment.mixup_alpha to 0, or the metric to none"
            )
        if self.loss.metric == "triplet" and 0 < sampling.micro_batch < sampling.batch_size:
            raise ValueError("loss.metric triplet looks for triplets in a whole batch: set sampling.micro_batch to 0")
        return self
