"""Validation figures against scikit-learn and by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from sweeps_to_train import CMVN, TRAIN, VAL, config_for, history
from torch import nn
from torch.nn import functional

from wakeword_core.config import TinyConvConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.training.loop import train
from wakeword_core.training.validation import (
    ValidationFigures,
    allowed_alarms,
    check_validation,
    validate,
)


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
    assert found.f1 == f1_score(truth, scores >= 0.5)
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


def _figures(model: ScoringModel, words: list[float], others: list[float], alarms: int = 0) -> ValidationFigures:
    """Of log-odds of one wake word."""
    odds = torch.tensor([*words, *others])
    logits = torch.stack([torch.zeros(len(odds)), odds, torch.full((len(odds),), -1e4)], dim=1)
    labels = torch.tensor([1] * len(words) + [0] * len(others))
    return validate(model, _mel(logits), labels, 64, 0.1, alarms)


def test_f1_and_misses_by_hand(model: ScoringModel) -> None:
    words, others = [3.0, 2.0, 1.0, -1.0], [-3.0, -2.0, 0.5, 1.5, -4.0]
    found = _figures(model, words, others)
    assert found.f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert [_figures(model, words, others, alarms).frr for alarms in range(6)] == [0.5, 0.25, 0, 0, 0, 0]
    assert _figures(model, [1.0], [1.0]).frr == 1.0  # what is not told apart is missed
    assert _figures(model, [-9.0], [-9.5]).f1 == 0.0


def test_what_is_maximised(model: ScoringModel) -> None:
    found = _figures(model, [3.0, 1.0], [2.0, -2.0])
    assert [found.value(one) for one in ("pauc", "loss", "f1", "frr")] == [found.pauc, -found.loss, found.f1, -0.5]


def test_alarms_are_counted_by_the_hour() -> None:
    labels = torch.cat([torch.ones(9_999), torch.zeros(3 * 7_200 + 10)]).long()
    assert allowed_alarms(labels, hop_seconds=0.5, alarms_an_hour=2.0) == 6


@pytest.mark.parametrize("metric", ["pauc", "loss", "f1", "frr"])
def test_a_training_goes_by_the_metric_that_is_chosen(metric: str, tmp_path: Path) -> None:
    config = config_for(schedule={"epochs": 5, "learning_rate": 1e-2}, validation={"metric": metric})
    summary = train(TRAIN, VAL, CMVN, config, tmp_path)
    records = history(tmp_path)
    sign = 1 if metric in ("pauc", "f1") else -1
    assert [one.val_score for one in records] == [sign * getattr(one, f"val_{metric}") for one in records]
    assert summary.best_score == max(one.val_score for one in records)
