"""Validation figures against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from wakeword_core.config import TinyConvConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.detector import wake_scores
from wakeword_core.evaluation.metrics import clip_metrics
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.validation import check_validation, validate


class _Given(nn.Module):
    """Logits are the first frame's first bands."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3, 0]


@pytest.fixture
def model() -> ScoringModel:
    model = ScoringModel(TinyConvConfig(channels=4), 8, 32, 3)
    model.backbone = _Given()
    return model.eval()


def _mel(logits: torch.Tensor) -> torch.Tensor:
    mel = torch.zeros(len(logits), 8, 32)
    mel[:, :3, 0] = logits
    return mel


def test_windows_are_ranked_by_the_detectors_score(model: ScoringModel) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (200,), generator=generator)
    logits = torch.randn(200, 3, generator=generator) + functional.one_hot(labels, 3)
    found = validate(model, _mel(logits), labels, 64, 0.1)
    probabilities = torch.softmax(logits.double(), 1).numpy()
    scores, truth = wake_scores(probabilities)[0], labels.numpy() > 0
    assert found.loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-5)
    assert found.auc == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert found.pauc == pytest.approx(roc_auc_score(truth, scores, max_fpr=0.1), abs=1e-6)
    assert found.pauc != pytest.approx(found.auc, abs=1e-3)
    # with several words, being sure of some word is another score than being sure of one
    assert found.auc != pytest.approx(roc_auc_score(truth, 1 - probabilities[:, 0]), abs=1e-3)


def test_validation_and_the_report_share_a_partial_auc(model: ScoringModel) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (300,), generator=generator)
    logits = torch.randn(300, 3, generator=generator) + functional.one_hot(labels, 3)
    scores, _ = wake_scores(torch.softmax(logits.double(), 1).numpy())
    clips = clip_metrics(scores, labels.numpy())
    for limit, expected in ((0.1, clips.pauc_01), (0.05, clips.pauc_005), (1.0, clips.roc_auc)):
        assert validate(model, _mel(logits), labels, 64, limit).pauc == pytest.approx(expected, abs=1e-9)


def test_confident_scores_are_still_ranked(model: ScoringModel) -> None:
    logits = torch.tensor([[-60.0, 0, -90], [-40.0, 0, -90], [-50.0, -90, 0], [-30.0, 0, -90]])
    found = validate(model, _mel(logits), torch.tensor([1, 0, 2, 0]), 3, 0.1)
    assert found.auc == 1.0


def test_scores_that_are_not_finite_are_told_not_raised(model: ScoringModel) -> None:
    logits = torch.full((4, 3), float("nan"))
    assert np.isnan(validate(model, _mel(logits), torch.tensor([1, 0, 1, 0]), 4, 0.1).loss)


@pytest.mark.parametrize(("labels", "message"), [([0, 0], "wake words"), ([1, 2], "negatives"), ([], "wake words")])
def test_validation_needs_both_sides(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=f"no window of {message}"):
        check_validation(torch.tensor(labels))
