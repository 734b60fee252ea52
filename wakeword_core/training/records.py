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
    parameters: int
    seconds: float
    samples_per_second: float
    stopped_early: bool


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
