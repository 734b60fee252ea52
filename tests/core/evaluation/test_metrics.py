"""Metrics against hand counts and brute force."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wakeword_core.evaluation import metrics


def test_hand_counted_clips():
    result = metrics.clip_metrics([0.9, 0.8, 0.3, 0.6, 0.1, 0.2], [1, 1, 1, 0, 0, 0], threshold=0.5)
    counts = (result.true_positives, result.false_negatives, result.false_positives, result.true_negatives)
    assert counts == (2, 1, 1, 2)
    assert result.accuracy == result.precision == result.recall == pytest.approx(2 / 3)
    assert result.f1 == pytest.approx(2 / 3) and result.fpr == result.fnr == pytest.approx(1 / 3)
    assert result.roc_auc == pytest.approx(8 / 9)
    assert result.brier == pytest.approx(np.mean([0.01, 0.04, 0.49, 0.36, 0.01, 0.04]))
    assert result.nll == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.3, 0.4, 0.9, 0.8])))


def test_partial_auc_sees_only_the_low_false_positive_end():
    labels = np.r_[np.zeros(100), np.ones(100)]
    good_start = np.r_[np.linspace(0, 0.7, 100), np.linspace(0.6, 1, 100)]
    hard_negatives = np.r_[np.linspace(0, 0.4, 90), np.full(10, 0.99), np.linspace(0.5, 0.98, 100)]
    assert metrics.clip_metrics(hard_negatives, labels).roc_auc > 0.89
    assert metrics.clip_metrics(hard_negatives, labels).pauc == pytest.approx(0.5, abs=0.05)
    assert metrics.clip_metrics(good_start, labels).pauc > 0.8


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40))
def test_equal_error_rate_lies_on_the_crossing(seed, positives, negatives):
    random = np.random.default_rng(seed)
    scores = np.clip(np.r_[random.normal(0.6, 0.2, positives), random.normal(0.4, 0.2, negatives)], 0, 1)
    labels = np.r_[np.ones(positives), np.zeros(negatives)]
    rate, threshold = metrics.equal_error_rate(scores, labels)
    thresholds = np.r_[np.unique(scores), 2.0]
    misses = np.array([(scores[labels == 1] < t).mean() for t in thresholds])
    alarms = np.array([(scores[labels == 0] >= t).mean() for t in thresholds])
    worst = np.maximum(misses, alarms).min()
    best = np.minimum(misses, alarms).max()
    assert best - 1e-9 <= rate <= worst + 1e-9
    assert scores.min() <= threshold <= scores.max()


def test_equal_error_rate_of_known_cases():
    assert metrics.equal_error_rate([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])[0] == 0
    assert metrics.equal_error_rate([0.8, 0.9, 0.1, 0.2], [0, 0, 1, 1])[0] == 1
    assert metrics.equal_error_rate([0.5] * 4, [0, 0, 1, 1])[0] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="both classes"):
        metrics.equal_error_rate([0.5], [1])


def test_one_class_gives_none_not_nan():
    result = metrics.clip_metrics([0.2, 0.6], [0, 0])
    assert result.recall is result.roc_auc is result.eer is result.pauc is None and result.fpr == 0.5
    json.dumps(asdict(result), allow_nan=False)


@pytest.mark.parametrize(("scores", "labels"), [([], []), ([0.1], [1, 0]), ([1.2], [1]), ([float("nan")], [1])])
def test_faulty_input_is_refused(scores, labels):
    with pytest.raises(ValueError, match="must be"):
        metrics.clip_metrics(scores, labels)


def test_calibration_error_by_hand():
    table = [[0.9, 0.1]] * 10
    assert metrics.expected_calibration_error(table, [0] * 9 + [1]) == pytest.approx(0)
    assert metrics.expected_calibration_error(table, [1] * 10) == pytest.approx(0.9)
    bins = metrics.reliability([0.0, 0.02, 1.0], [0, 1, 1], bins=10)
    assert [(one.confidence, one.accuracy, one.count) for one in bins] == [(pytest.approx(0.01), 0.5, 2), (1, 1, 1)]
    with pytest.raises(ValueError, match="fit"):
        metrics.expected_calibration_error(table, [1])


def test_certain_and_wrong_stays_finite():
    assert np.isfinite(metrics.negative_log_likelihood([[1.0, 0.0]], [1]))


def test_wilson_interval_matches_the_formula():
    low, high = metrics.wilson_interval(3, 50)
    z, p, n = stats.norm.ppf(0.975), 3 / 50, 50
    middle = (p + z**2 / 2 / n) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    assert (low, high) == pytest.approx((middle - half, middle + half))
    assert metrics.wilson_interval(0, 0) == (0, 1)


def test_poisson_intervals_are_exact():
    low, high = metrics.poisson_interval(4, 2.0)
    assert stats.poisson.sf(3, low * 2) == pytest.approx(0.025)
    assert stats.poisson.cdf(4, high * 2) == pytest.approx(0.025)
    assert metrics.poisson_interval(0, 10.0) == (0.0, pytest.approx(0.3689, abs=1e-4))
    assert metrics.poisson_upper_bound(0, 10.0) == pytest.approx(0.29957, abs=1e-5)


def test_confusion_rows_are_the_truth():
    assert metrics.confusion([1, 1, 2], [0, 1, 1], classes=3).tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]
