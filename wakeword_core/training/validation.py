"""How good a model is on the validation windows."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wakeword_core.errors import DataError
from wakeword_core.models.scoring import ScoringModel


@dataclass(frozen=True)
class ValidationFigures:
    """Cross-entropy and ranking of validation windows; the wake-word score is 1 - p(negative)."""

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
    from sklearn.metrics import roc_auc_score

    logits = torch.cat([model.logits(batch) for batch in torch.split(mel, batch_size)])
    loss = float(functional.cross_entropy(logits, labels))
    if not bool(logits.isfinite().all()):
        return ValidationFigures(float("nan"), 0.0, 0.0)
    # in logits: 1 - p(negative) in float32 rounds all confident scores to 1
    scores = (torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]).double().cpu().numpy()
    truth = (labels > 0).cpu().numpy()
    partial = roc_auc_score(truth, scores, max_fpr=max_fpr)
    return ValidationFigures(loss, float(roc_auc_score(truth, scores)), float(partial))
