"""How good a model is on the validation windows."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wakeword_core.errors import DataError
from wakeword_core.evaluation.metrics import area_under_roc
from wakeword_core.models.scoring import ScoringModel


@dataclass(frozen=True)
class ValidationFigures:
    """Cross-entropy and ranking of validation windows by the score that a detector goes by."""

    loss: float
    auc: float
    pauc: float
    """Standardised partial ROC-AUC (McClish 1989)."""


def check_validation(labels: Tensor) -> None:
    """Refuse validation windows on which no ranking can be measured."""
    for present, what in ((labels > 0, "wake words"), (labels == 0, "negatives")):
        if not bool(present.any()):
            raise DataError(f"the validation split has no window of {what}; add recordings or raise data.val_fraction")


@torch.inference_mode()
def validate(model: ScoringModel, mel: Tensor, labels: Tensor, batch_size: int, max_fpr: float) -> ValidationFigures:
    """Figures of `model` (in eval mode) on mel [rows, n_mels, frames] and labels [rows], all on its device."""
    logits = torch.cat([model.logits(batch) for batch in torch.split(mel, batch_size)])
    loss = float(functional.cross_entropy(logits, labels))
    if not bool(logits.isfinite().all()):
        return ValidationFigures(float("nan"), 0.0, 0.0)
    scores, truth = _wake_log_odds(logits).cpu().numpy(), (labels > 0).cpu().numpy()
    return ValidationFigures(loss, area_under_roc(scores, truth), area_under_roc(scores, truth, max_fpr))


def _wake_log_odds(logits: Tensor) -> Tensor:
    """Log-odds of the likeliest wake word against all else, [rows] float64, of logits [rows, classes].

    It orders windows as the detector's score, the likeliest word's probability, does, but where that would be
    rounded to 1 as well.
    """
    best = 1 + logits[:, 1:].argmax(dim=1, keepdim=True)
    words = logits.double()
    others = words.scatter(1, best, -torch.inf)
    return words.gather(1, best)[:, 0] - torch.logsumexp(others, dim=1)
