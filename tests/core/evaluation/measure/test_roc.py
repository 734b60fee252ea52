"""The ROC against scikit-learn's, and its areas and crossing against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlapping_scores import drawn
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from wakeword_core.evaluation.measure import roc


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40))
def test_equal_error_rate_lies_on_the_crossing(seed, positives, negatives):
    random = np.random.default_rng(seed)
    scores = np.clip(np.r_[random.normal(0.6, 0.2, positives), random.normal(0.4, 0.2, negatives)], 0, 1)
    labels = np.r_[np.ones(positives), np.zeros(negatives)]
    rate, threshold = roc.equal_error_rate(scores, labels)
    thresholds = np.r_[np.unique(scores), 2.0]
    misses = np.array([(scores[labels == 1] < t).mean() for t in thresholds])
    alarms = np.array([(scores[labels == 0] >= t).mean() for t in thresholds])
    worst = np.maximum(misses, alarms).min()
    best = np.minimum(misses, alarms).max()
    assert best - 1e-9 <= rate <= worst + 1e-9
    assert scores.min() <= threshold <= scores.max()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))
def test_equal_error_rate_agrees_with_an_independent_one(seed, positives, negatives, places):
    """The usual one-liner: the root of 1 - x - TPR(x) on scikit-learn's ROC, interpolated by numpy."""
    scores, labels = drawn(seed, positives, negatives, places)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=True)
    # a ROC rises straight up in places; leaning it by next to nothing makes it a function
    lean = fpr + 1e-12 * np.arange(len(fpr))
    expected = brentq(lambda x: 1 - x - np.interp(x, lean, tpr), 0, 1)
    assert roc.equal_error_rate(scores, labels)[0] == pytest.approx(expected, abs=1e-6)
    # and it does not change when classes and scores are both turned round
    assert roc.equal_error_rate(1 - scores, ~labels)[0] == pytest.approx(expected, abs=1e-6)


def test_equal_error_rate_of_known_cases():
    assert roc.equal_error_rate([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])[0] == 0
    assert roc.equal_error_rate([0.8, 0.9, 0.1, 0.2], [0, 0, 1, 1])[0] == 1
    assert roc.equal_error_rate([0.5] * 4, [0, 0, 1, 1])[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="both classes"):
        roc.equal_error_rate([0.5], [1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))
def test_points_are_scikit_learns(seed, positives, negatives, places):
    scores, labels = drawn(seed, positives, negatives, places)
    fpr, tpr, thresholds = roc_curve(labels, scores)
    points = roc.roc_points(scores, labels)
    np.testing.assert_array_equal(points.fpr, fpr)
    np.testing.assert_array_equal(points.tpr, tpr)
    np.testing.assert_array_equal(points.thresholds[1:], thresholds[1:])


@pytest.mark.parametrize("limit", [0.1, 0.05])
def test_partial_auc_is_the_scaled_area_under_the_start_of_the_roc(limit):
    scores, labels = drawn(5, 200, 2_000)
    fpr, tpr, _ = roc.roc_points(scores, labels)
    grid = np.linspace(0, limit, 200_001)
    area = np.trapezoid(np.interp(grid, fpr, tpr), grid)
    chance = limit**2 / 2
    expected = (1 + (area - chance) / (limit - chance)) / 2
    assert roc.area_under_roc(scores, labels, limit) == pytest.approx(expected, abs=1e-4)
    # of any increasing function of the scores: log-odds, as in training
    assert roc.area_under_roc(np.log(scores / (1 - scores)), labels, limit) == pytest.approx(expected, abs=1e-4)
    assert roc.area_under_roc(scores, labels) == roc_auc_score(labels, scores)


def test_roc_points_can_be_reached_and_drawn():
    scores, labels = drawn(6, 50, 300, places=2)
    points = roc.roc_points(scores, labels)
    assert (points.fpr[0], points.tpr[0], points.fpr[-1], points.tpr[-1]) == (0, 0, 1, 1)
    for fpr, tpr, threshold in zip(*points, strict=True):
        said = scores >= threshold
        assert fpr == said[~labels].mean() and tpr == pytest.approx(said[labels].mean())
    assert np.isfinite(points.thresholds).all() and (np.diff(points.thresholds) < 0).all()
    for function in (roc.roc_points, roc.area_under_roc):
        with pytest.raises(ValueError, match="both classes"):
            function([0.1, 0.2], [1, 1])
        with pytest.raises(ValueError, match="finite"):
            function([0.1, np.inf], [1, 0])
