"""Metrics against hand counts, brute force and resampling done the plain way."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlapping_scores import drawn
from scipy import stats
from sklearn.metrics import brier_score_loss, f1_score, precision_score, roc_auc_score

from wakeword_core.evaluation.measure import intervals, metrics
from wakeword_core.evaluation.measure.intervals import bootstrap_intervals


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
    assert metrics.clip_metrics(hard_negatives, labels).pauc_01 == pytest.approx(0.5, abs=0.05)
    assert metrics.clip_metrics(good_start, labels).pauc_01 > 0.8


def test_one_class_gives_none_not_nan():
    result = metrics.clip_metrics([0.2, 0.6], [0, 0])
    assert (
        result.recall is result.roc_auc is result.eer is result.pauc_01 is result.pauc_005 is None and result.fpr == 0.5
    )
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


def test_bins_of_equal_numbers_do_not_divide_equal_scores():
    """Which of ten predictions of 0.9 is the wrong one says nothing about calibration."""
    for wrong in range(10):
        labels = (np.arange(10) != wrong).astype(int)
        table = np.tile([0.1, 0.9], (10, 1))
        assert metrics.expected_calibration_error(table, labels, 2, adaptive=True) == pytest.approx(0)


@pytest.mark.parametrize(
    ("table", "labels", "message"),
    [
        ([[0.9, 0.1]], [-1], "labels go from -1"),
        ([[0.9, 0.1]], [2], "there are 2 classes"),
        ([[np.nan, 0.1]], [0], "finite"),
        ([[1.9, 0.1]], [0], "between 0 and 1"),
    ],
)
def test_what_is_no_class_or_probability_is_refused(table, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.negative_log_likelihood(table, labels)


def test_certain_and_wrong_stays_finite():
    assert np.isfinite(metrics.negative_log_likelihood([[1.0, 0.0]], [1]))


@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(("events", "trials"), [(3, 50), (0, 7), (7, 7), (1, 1)])
def test_wilson_intervals_are_scipys(events: int, trials: int, confidence: float) -> None:
    expected = stats.binomtest(events, trials).proportion_ci(confidence, method="wilson")
    assert intervals.wilson_interval(events, trials, confidence) == pytest.approx((expected.low, expected.high))


def test_wilson_intervals_of_what_is_not_whole_lie_between() -> None:
    low, middle, high = (intervals.wilson_interval(events, 90) for events in (1, 1.5, 2))
    assert low.low < middle.low < high.low and low.high < middle.high < high.high
    assert intervals.wilson_interval(0, 0) == (0, 1)


def test_poisson_intervals_are_exact():
    low, high = intervals.poisson_interval(4, 2.0)
    assert stats.poisson.sf(3, low * 2) == pytest.approx(0.025)
    assert stats.poisson.cdf(4, high * 2) == pytest.approx(0.025)
    assert intervals.poisson_interval(0, 10.0) == (0.0, pytest.approx(0.3689, abs=1e-4))
    assert intervals.poisson_upper_bound(0, 10.0) == pytest.approx(0.29957, abs=1e-5)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 3))
def test_metrics_of_a_resample_are_those_of_its_windows(seed, positives, negatives, places):
    """A window that counts k times is k windows."""
    scores, labels = drawn(seed, positives, negatives, places)
    random = np.random.default_rng(seed)
    draws = random.integers(0, 3, (3, len(labels)))
    draws[:, [0, -1]] = 1
    draws[0] = 1
    captured = []

    def capture(statistics, truth, *_):
        captured.extend(statistics(counts.astype(float)) for counts in draws)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "bootstrap_intervals", capture)
        metrics.clip_metrics(scores, labels, random=random)
    for figures, counts in zip(captured, draws, strict=True):
        assert set(figures) == {"f1", "roc_auc", "pauc_01", "pauc_005", "eer", "ece", "brier", "nll"}
        whole = asdict(metrics.clip_metrics(np.repeat(scores, counts), np.repeat(labels, counts)))
        for name, figure in figures.items():
            assert figure == pytest.approx(whole[name], abs=1e-9), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60), st.integers(1, 12))
def test_figures_are_scikit_learns(seed, positives, negatives, places):
    scores, labels = drawn(seed, positives, negatives, places)
    result = metrics.clip_metrics(scores, labels, 0.3)
    assert result.roc_auc == roc_auc_score(labels, scores)
    assert result.pauc_01 == pytest.approx(roc_auc_score(labels, scores, max_fpr=0.1), abs=1e-12)
    assert result.f1 == pytest.approx(f1_score(labels, scores >= 0.3, zero_division=0), abs=1e-12)
    assert result.precision == precision_score(labels, scores >= 0.3, zero_division=0)
    assert result.brier == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)


def test_bootstrap_intervals_agree_with_theory():
    scores, labels = drawn(1, 80, 400)
    found = metrics.clip_metrics(scores, labels, random=np.random.default_rng(0), resamples=2_000).intervals
    # DeLong et al. (1988): how often each positive beats the negatives, and each negative loses to the positives
    beats = (scores[:80, None] > scores[None, 80:]).astype(float)
    error = np.sqrt(beats.mean(1).var(ddof=1) / 80 + beats.mean(0).var(ddof=1) / 400)
    assert found["roc_auc"].high - found["roc_auc"].low == pytest.approx(3.92 * error, rel=0.1)
    assert np.mean(found["roc_auc"]) == pytest.approx(beats.mean(), abs=error / 2)
    brier = (scores - labels) ** 2
    error = np.sqrt(80 * brier[:80].var() + 400 * brier[80:].var()) / 480
    assert found["brier"].high - found["brier"].low == pytest.approx(3.92 * error, rel=0.1)


def test_every_metric_has_an_interval_that_holds_it():
    scores, labels = drawn(2, 40, 200)
    result = metrics.clip_metrics(scores, labels, random=np.random.default_rng(0))
    plain = asdict(metrics.clip_metrics(scores, labels))
    told = {"accuracy", "precision", "recall", "f1", "fpr", "fnr", "roc_auc", "pauc_01", "pauc_005", "eer"}
    assert set(result.intervals) == told | {"ece", "brier", "nll"}
    for name, (low, high) in result.intervals.items():
        assert 0 <= low <= plain[name] <= high and low < high, name
    assert set(plain["intervals"]) == {"accuracy", "precision", "recall", "fpr", "fnr"}
    assert result.intervals["recall"] == intervals.wilson_interval(result.true_positives, 40)
    json.dumps(asdict(result), allow_nan=False)


def test_windows_of_one_recording_count_once_in_every_interval():
    scores, labels = drawn(2, 40, 200)
    alone = metrics.clip_metrics(scores, labels, random=np.random.default_rng(0)).intervals
    often = [np.repeat(one, 9) for one in (scores, labels, np.arange(240))]
    counted = metrics.clip_metrics(*often[:2], recordings=often[2], random=np.random.default_rng(0)).intervals
    assert counted.keys() == alone.keys()
    for name, interval in alone.items():  # those by bootstrap are drawn in other batches
        np.testing.assert_allclose(counted[name], interval, atol=0.15 * np.ptp(interval), err_msg=name)
    assert counted["recall"] == alone["recall"]
    fooled = metrics.clip_metrics(*often[:2], random=np.random.default_rng(0)).intervals
    assert np.ptp(fooled["eer"]) < 0.5 * np.ptp(alone["eer"]) and np.ptp(fooled["fpr"]) < 0.5 * np.ptp(alone["fpr"])
    with pytest.raises(ValueError, match="recordings"):
        metrics.clip_metrics(scores, labels, recordings=np.arange(3))


@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.95])
def test_an_interval_holds_its_proportion(confidence: float) -> None:
    for proportion in np.linspace(0, 1, 41):
        low, high = intervals.wilson_interval(3 * float(proportion), 3, confidence)
        assert low <= proportion <= high


def test_one_long_recording_is_hardly_more_than_one_trial() -> None:
    whose = np.append(np.zeros(900), np.arange(1, 101))
    assert intervals.effective_trials(whose) == pytest.approx(1000**2 / (900**2 + 100))
    assert intervals.effective_trials(np.arange(50)) == 50 and intervals.effective_trials(np.zeros(0)) == 0
    scores = np.append(np.full(900, 0.9), np.full(100, 0.1))
    low, high = metrics.clip_metrics(scores, np.zeros(1000), recordings=whose).intervals["fpr"]
    assert high - low > 0.6


def test_calibration_of_several_words_is_of_there_being_one() -> None:
    """Sure of some word, but not of which: what the likeliest one has says nothing about that."""
    table = np.tile([[0.02, 0.49, 0.49], [0.9, 0.05, 0.05]], (5, 1))
    words = np.tile([1, 0], 5)
    either = metrics.clip_metrics(table[:, 1:].max(1), words, any_word=1 - table[:, 0])
    assert either.ece == pytest.approx((0.02 + 0.1) / 2) and either.brier == pytest.approx((0.02**2 + 0.1**2) / 2)
    assert either.nll == pytest.approx(-np.log([0.98, 0.9]).mean())
    assert metrics.clip_metrics(table[:, 1:].max(1), words).ece > 0.2


def test_groups_and_classes_count_recordings_too():
    scores, labels = drawn(2, 40, 200)
    recordings = np.arange(240) // 2
    whole = metrics.clip_metrics(scores, labels, recordings=recordings).intervals
    assert metrics.grouped(scores, labels, np.full(240, "all"), recordings=recordings)["all"].intervals == whole
    table = np.column_stack([1 - scores, scores])
    assert metrics.per_class(table, labels, ("no", "yes"), recordings=recordings)["yes"].intervals == whole


def test_intervals_are_repeatable_narrow_with_more_windows_and_widen_with_confidence():
    def measured(scale, seed=0, confidence=0.95):
        random = np.random.default_rng(seed)
        scores, labels = drawn(3, 30 * scale, 100 * scale)
        return metrics.clip_metrics(scores, labels, random=random, confidence=confidence).intervals

    assert measured(1) == measured(1)
    assert measured(1)["nll"] != measured(1, seed=1)["nll"]  # the EER of so few windows has few values
    assert np.ptp(measured(16)["eer"]) < np.ptp(measured(1)["eer"]) / 2
    assert np.ptp(measured(1, confidence=0.5)["eer"]) < np.ptp(measured(1)["eer"]) / 2


def test_a_bootstrap_that_sees_no_error_claims_nothing():
    result = metrics.clip_metrics([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0], random=np.random.default_rng(0))
    assert result.eer == 0 and not {"eer", "roc_auc", "pauc_01", "f1"} & set(result.intervals)
    assert result.intervals["recall"].low < 0.5
    one_class = metrics.clip_metrics([0.9, 0.8, 0.3], [1, 1, 1], random=np.random.default_rng(0))
    assert "eer" not in one_class.intervals and "brier" in one_class.intervals


def test_classes_are_resampled_apart():
    seen = []

    def statistics(weights):
        seen.append(weights)
        return {"first": weights[0]}

    labels = np.r_[np.ones(3, bool), np.zeros(50, bool)]
    bootstrap_intervals(statistics, labels, np.random.default_rng(0), resamples=400)
    draws = np.stack(seen[1:])
    assert len(draws) == 400 and (draws[:, :3].sum(1) == 3).all() and (draws[:, 3:].sum(1) == 50).all()
    np.testing.assert_allclose(draws.mean(0), 1, atol=0.25)


def test_a_thousand_resamples_of_a_split_are_quick():
    scores, labels = drawn(4, 400, 6_600)
    started = time.process_time()
    metrics.clip_metrics(scores, labels, random=np.random.default_rng(0), resamples=1_000)
    assert time.process_time() - started < 2


def test_groups_are_measured_apart():
    scores, labels = drawn(7, 30, 60)
    groups = np.array(["b", "a", "c"])[np.arange(90) % 3]
    found = metrics.grouped(scores, labels, groups, 0.3)
    assert list(found) == ["a", "b", "c"] and sum(one.count for one in found.values()) == 90
    assert found["a"] == metrics.clip_metrics(scores[groups == "a"], labels[groups == "a"], 0.3)
    assert found["a"].intervals["recall"].low < found["a"].recall < found["a"].intervals["recall"].high
    only = metrics.grouped([0.9, 0.1], [1, 0], ["yes", "no"])
    assert only["yes"].fpr is only["yes"].roc_auc is None and only["no"].fpr == 0
    with pytest.raises(ValueError, match="groups"):
        metrics.grouped(scores, labels, groups[1:])


def test_every_class_is_measured_against_the_rest():
    table = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.3, 0.6, 0.1]])
    found = metrics.per_class(table, [0, 1, 2, 2], ["_negative", "a", "b"])
    assert list(found) == ["_negative", "a", "b"]
    assert (found["a"].true_positives, found["a"].false_positives, found["a"].positives) == (1, 1, 1)
    assert (found["b"].true_positives, found["b"].false_negatives) == (1, 1)
    assert found["_negative"] == metrics.clip_metrics(table[:, 0], [1, 0, 0, 0])
    with pytest.raises(ValueError, match="2 classes"):
        metrics.per_class(table, [0, 1, 2, 2], ["a", "b"])


def test_adaptive_bins_hold_equally_many():
    confidence = np.r_[np.linspace(0.99, 1, 90), np.linspace(0.5, 0.98, 10)]
    right = np.r_[np.ones(90), np.zeros(10)]
    bins = metrics.reliability(confidence, right, 10, adaptive=True)
    assert [one.count for one in bins] == [10] * 10
    assert [one.accuracy for one in bins] == [0] + [1] * 9
    table, truth = np.column_stack([confidence, 1 - confidence]), 1 - right
    expected = np.abs([one.confidence - one.accuracy for one in bins]).mean()
    assert metrics.expected_calibration_error(table, truth, 10, adaptive=True) == pytest.approx(expected)
    assert len(metrics.reliability(confidence, right, 10)) < 7


def test_calibration_error_is_the_gap_of_its_bins():
    scores, labels = drawn(8, 100, 300)
    table = np.column_stack([1 - scores, scores])
    bins = metrics.reliability(table.max(1), table.argmax(1) == labels)
    expected = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / 400
    assert metrics.expected_calibration_error(table, labels) == pytest.approx(expected)


def test_a_recording_is_judged_by_its_highest_window() -> None:
    scores, labels = [0.1, 0.9, 0.2, 0.6, 0.4], [0, 1, 0, 0, 0]
    highest, said, names = metrics.by_recording(scores, labels, ["b", "a", "b", "c", "a"])
    assert names.tolist() == ["a", "b", "c"] and highest.tolist() == [0.9, 0.2, 0.6] and said.tolist() == [1, 0, 0]
    whole = metrics.clip_metrics(highest, said)
    assert (whole.count, whole.true_positives, whole.false_positives) == (3, 1, 1)
    with pytest.raises(ValueError, match="names of groups"):
        metrics.by_recording(scores, labels, ["a"])
