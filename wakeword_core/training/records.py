"""What a training reports: a record of each epoch, and a summary of the whole."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.files import as_type, parse_json, write_text

HISTORY = "history.jsonl"
CURVE = "training_curve.png"
"""Files in a trained model's artifact: its epochs, and a picture of them."""


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch; `epoch` counts from 1."""

    epoch: int
    train_loss: float  # mean over the batches, with label smoothing and augmentation
    val_loss: float
    val_auc: float
    val_pauc: float
    val_f1: float
    val_frr: float
    val_score: float  # what is maximised: one of these, or the loss below zero
    learning_rate: float  # of the last step
    gradient_norm: float  # mean over the steps, before clipping
    samples_per_second: float  # windows trained on, without validation
    seconds: float  # training and validation
    # None in histories of earlier versions, and where there is nothing to measure
    seconds_left: float | None = None  # what the epochs to come take, if they take as long as those so far
    val_fpr: float | None = None  # share of windows without a word in which one is likelier than all else
    val_fnr: float | None = None  # share of words in which it is not
    val_frr_but_two: float | None = None  # `val_frr`, were the two loudest windows without a word not there
    loss_word: float | None = None  # mean training loss of rows with a word
    loss_negative: float | None = None  # of rows without, but for hard negatives
    loss_hard_negative: float | None = None
    clipped_steps: int | None = None  # steps whose gradients were scaled down
    gradient_jump: float | None = None  # largest norm of gradients, as a multiple of what was usual before it
    cpu_cores: float | None = None  # processor seconds a second
    memory_mb: float | None = None  # peak
    gpu_share: float | None = None  # share of the time in which the GPU was at work
    gpu_memory_mb: float | None = None  # peak

    @property
    def score(self) -> tuple[float, float]:
        """What is maximised, and the smaller validation loss among equals."""
        return self.val_score, -self.val_loss


@dataclass(frozen=True)
class TrainingSummary:
    """Figures of a finished training; validation figures are those of the saved weights."""

    epochs: int
    best_epoch: int
    best_score: float
    val_loss: float
    val_auc: float
    val_pauc: float
    val_f1: float
    val_frr: float
    val_fpr: float | None
    val_fnr: float | None
    val_frr_but_two: float | None
    parameters: int
    seconds: float
    samples_per_second: float
    stopped_early: bool
    clipped_steps: int
    cpu_cores: float | None
    memory_mb: float | None
    gpu_share: float | None
    gpu_memory_mb: float | None


def best_record(history: Sequence[EpochRecord]) -> EpochRecord | None:
    """Find the record with the best score, the first among equals; None before the first epoch."""
    return max(history, key=lambda record: record.score, default=None)


def kept_record(history: Sequence[EpochRecord], keep: Literal["last", "best"]) -> EpochRecord | None:
    """Find the record of the epoch whose weights are kept; None before the first epoch."""
    return best_record(history) if keep == "best" or not history else history[-1]


def out_of_patience(history: Sequence[EpochRecord], patience: int) -> bool:
    """Tell whether the last `patience` epochs brought nothing better."""
    best = best_record(history)
    return best is not None and history[-1].epoch - best.epoch >= patience


def summarise(
    history: Sequence[EpochRecord], kept: EpochRecord, samples: int, parameters: int, stopped_early: bool
) -> TrainingSummary:
    """Sum up a training of so many samples an epoch, of which the weights of the epoch `kept` are saved."""
    seconds = [record.seconds for record in history]
    training_seconds = sum(samples / record.samples_per_second for record in history)
    return TrainingSummary(
        epochs=len(history),
        best_epoch=kept.epoch,
        best_score=kept.val_score,
        val_loss=kept.val_loss,
        val_auc=kept.val_auc,
        val_pauc=kept.val_pauc,
        val_f1=kept.val_f1,
        val_frr=kept.val_frr,
        val_fpr=kept.val_fpr,
        val_fnr=kept.val_fnr,
        val_frr_but_two=kept.val_frr_but_two,
        parameters=parameters,
        seconds=sum(seconds),
        samples_per_second=len(history) * samples / training_seconds,
        stopped_early=stopped_early,
        clipped_steps=sum(record.clipped_steps or 0 for record in history),
        cpu_cores=_mean([record.cpu_cores for record in history], seconds),
        memory_mb=_peak([record.memory_mb for record in history]),
        gpu_share=_mean([record.gpu_share for record in history], seconds),
        gpu_memory_mb=_peak([record.gpu_memory_mb for record in history]),
    )


def _mean(values: Sequence[float | None], seconds: Sequence[float]) -> float | None:
    """Return the mean of what was measured, each value for so many seconds; None where nothing was."""
    known = [(value, length) for value, length in zip(values, seconds, strict=True) if value is not None]
    total = sum(length for _, length in known)
    return sum(value * length for value, length in known) / total if total else None


def _peak(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Say in one line how an epoch of a training of so many went, and how long the rest may take."""
    facts = [f"loss {record.train_loss:.4f}, validation loss {record.val_loss:.4f}, F1 {record.val_f1:.3f}"]
    if record.val_fpr is not None and record.val_fnr is not None:
        facts.append(f"FPR {100 * record.val_fpr:.2f} % and FNR {100 * record.val_fnr:.1f} % at 0.5")
    facts.append(f"learning rate {record.learning_rate:.2g}, {record.seconds:.1f} s")
    if record.seconds_left:
        facts.append(f"about {record.seconds_left:,.0f} s left")
    return f"epoch {record.epoch} of {epochs}: {', '.join(facts)}"


def read_history(path: Path) -> list[EpochRecord]:
    """Read what `write_history` wrote; ArtifactError if it is not that."""
    try:
        return [as_type(EpochRecord, parse_json(line)) for line in path.read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path} is no history of a training ({reason_of(error)}); train the model again"
        ) from error


def write_history(path: Path, history: Sequence[EpochRecord]) -> None:
    """Write one JSON object a line and epoch; the whole file is replaced, so a resumed run leaves no epoch twice."""
    write_text(path, "".join(json.dumps(asdict(record)) + "\n" for record in history))


def history_curve(path: Path, max_fpr: float) -> bytes:
    """Draw the training curve of a history file as a PNG; `max_fpr` is what its partial AUC goes up to."""
    from wakeword_core.evaluation.measure.plots import training_curve

    return training_curve([asdict(record) for record in read_history(path)], max_fpr)
