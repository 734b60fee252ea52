"""How good a model is on the validation windows."""

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wakeword_core.config import ValMetric
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.roc import area_under_roc
from wakeword_core.features.gathering import Mel, in_order
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.run import Run

if TYPE_CHECKING:
    from wakeword_core.features.store import WindowSet

_LOUDEST = 2
"""Windows on which a threshold may rest."""


@dataclass(frozen=True)
class ValidationFigures:
    """Cross-entropy of validation windows, and how the score that a detector goes by tells them apart."""

    loss: float
    auc: float
    pauc: float  # standardised partial ROC-AUC (McClish 1989)
    f1: float  # where a wake word is likelier than all else
    frr: float  # share of words missed where as many other windows as allowed are not told from them
    fpr: float = 0.0  # share of other windows in which a wake word is likelier than all else
    fnr: float = 0.0  # share of words in which it is not
    frr_but_two: float = 0.0  # `frr`, were the two loudest of the other windows not there

    def value(self, metric: ValMetric) -> float:
        """Give what is maximised by that name."""
        return {"pauc": self.pauc, "loss": -self.loss, "f1": self.f1, "frr": -self.frr}[metric]


def check_validation(labels: Tensor) -> None:
    """Refuse validation windows on which no ranking can be measured."""
    for present, what in ((labels > 0, "wake words"), (labels == 0, "negatives")):
        if not bool(present.any()):
            raise DataError(
                f"the validation split has no window of {what}; add recordings or raise data.splits.val_fraction"
            )


def validate_run(run: Run, windows: "WindowSet", max_fpr: float, alarms: int) -> ValidationFigures:
    """Measure the averaged weights; the first process does it for all, so that all decide alike."""
    figures = [0.0] * len(fields(ValidationFigures))
    if run.ranks.first:
        figures = list(astuple(validate(run.average, windows.mel, windows.labels, run.micro_batch, max_fpr, alarms)))
    return ValidationFigures(*run.ranks.broadcast(figures))


@torch.inference_mode()
def validate(
    model: ScoringModel, mel: Mel, labels: Tensor, batch_size: int, max_fpr: float, alarms: int = 0
) -> ValidationFigures:
    """Measure `model`, in eval mode, on windows mel [rows, n_mels, frames] of classes `labels` [rows] on its device.

    The partial AUC ends at `max_fpr`. `alarms` windows without a word may score over the threshold of the misses.
    """
    logits = torch.cat([model.logits(batch) for batch in in_order(mel, batch_size, labels.device)])
    loss = float(functional.cross_entropy(logits, labels))
    if not bool(logits.isfinite().all()):
        return ValidationFigures(float("nan"), 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    scores, truth = _wake_log_odds(logits).cpu().numpy(), (labels > 0).cpu().numpy()
    detected = scores >= 0
    f1 = float(2 * (detected & truth).sum() / max(detected.sum() + truth.sum(), 1))
    ranking = area_under_roc(scores, truth), area_under_roc(scores, truth, max_fpr)
    words, others = scores[truth], np.sort(scores[~truth])
    missed = _missed(words, others, alarms), _missed(words, others[:-_LOUDEST], alarms)
    wrong = float(detected[~truth].mean()), float((~detected[truth]).mean())
    return ValidationFigures(loss, *ranking, f1, missed[0], *wrong, missed[1])


def allowed_alarms(labels: Tensor, hop_seconds: float, alarms_an_hour: float) -> int:
    """Count the windows without a word that may be taken for one: so many an hour of them, a hop each."""
    return int(int((labels == 0).sum()) * hop_seconds / 3600 * alarms_an_hour)


def _missed(words: NDArray[np.float64], others: NDArray[np.float64], alarms: int) -> float:
    """Share of words that do not score above all but `alarms` of the others, which are sorted."""
    if alarms >= len(others):
        return 0.0
    threshold = others[len(others) - 1 - alarms]
    return float((words <= threshold).mean())


def _wake_log_odds(logits: Tensor) -> Tensor:
    """Log-odds of the likeliest wake word against all else, [rows] float64, of logits [rows, classes].

    It orders windows as the detector's score, the likeliest word's probability, does, but where that would be
    rounded to 1 as well.
    """
    best = 1 + logits[:, 1:].argmax(dim=1, keepdim=True)
    words = logits.double()
    others = words.scatter(1, best, -torch.inf)
    return words.gather(1, best)[:, 0] - torch.logsumexp(others, dim=1)
