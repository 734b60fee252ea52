"""Temperature, vector scaling and the increasing curve: what they find, and what they must not spoil."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from wakeword_core.config import TinyConvConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.measure.calibration import calibrated, fit_calibration, softmax
from wakeword_core.evaluation.measure.metrics import expected_calibration_error, negative_log_likelihood
from wakeword_core.models.scoring import ScoringModel, load_model, save_model

METHODS = ("temperature", "vector", "isotonic")
CARD = {"labels": ["_negative", "a", "b"], "frontend": {}, "sample_rate": 16_000}


def drawn(seed, count=4_000, classes=3, spoil=lambda logits: logits):
    """Labels drawn from the probabilities of logits, which are then spoiled."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, classes))
    labels = (softmax(logits).cumsum(axis=1) < random.random((count, 1))).sum(axis=1).clip(max=classes - 1)
    return spoil(logits), labels


def bent(logits):
    """Overconfident by an odd function of the log-odds, as no temperature and no shift can be."""
    odds = np.logaddexp.reduce(logits[:, 1:], axis=1) - logits[:, 0]
    return np.column_stack([logits[:, 0], logits[:, 1:] + (odds**3 / 4)[:, None]])


@pytest.mark.parametrize("true", [0.5, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(true):
    result = fit_calibration(*drawn(1, spoil=lambda logits: logits * true), "temperature")
    assert result.parameters["temperature"] == pytest.approx(true, rel=0.1)
    assert result.nll_after < result.nll_before and result.ece_after < result.ece_before / 2
    assert result.adaptive_ece_after < result.adaptive_ece_before / 2
    assert result.count == 4_000


def test_the_temperature_is_a_minimum():
    logits, labels = drawn(2, 500, spoil=lambda logits: logits * 1.7)
    best = fit_calibration(logits, labels)
    for factor in (0.97, 1.03):
        beside = calibrated(logits, "temperature", {"temperature": best.parameters["temperature"] * factor})
        assert negative_log_likelihood(beside, labels) > best.nll_after


def test_vector_scaling_finds_what_a_temperature_cannot():
    scale, shift = np.array([0.5, 2.0, 1.5]), np.array([0.0, 1.5, -2.0])
    logits, labels = drawn(3, spoil=lambda logits: (logits + shift) / scale)
    result = fit_calibration(logits, labels, "vector")
    assert result.parameters["scale"] == pytest.approx(scale, rel=0.12)
    assert result.parameters["shift"] == pytest.approx(shift, abs=0.25)
    assert result.nll_after < fit_calibration(logits, labels, "temperature").nll_after - 0.05
    assert result.ece_after < 0.03 < result.ece_before


def test_the_curve_finds_what_vector_scaling_cannot():
    logits, labels = drawn(4, spoil=bent)
    result = fit_calibration(logits, labels, "isotonic")
    assert result.nll_after < fit_calibration(logits, labels, "vector").nll_after - 0.02
    wake = 1 - calibrated(logits, "isotonic", result.parameters)[:, 0]
    ece = [expected_calibration_error(np.column_stack([1 - one, one]), labels > 0) for one in (wake,)]
    assert ece[0] < 0.02
    # on other windows too
    others, truth = drawn(5, spoil=bent)
    after = negative_log_likelihood(calibrated(others, "isotonic", result.parameters), truth)
    assert after < negative_log_likelihood(softmax(others), truth) - 0.05


def test_the_curve_is_as_near_to_the_truth_as_isotonic_regression_itself():
    logits, labels = drawn(6, 10_000, classes=2)
    truth = softmax(logits)[:, 1]
    spoiled = bent(logits)
    odds = spoiled[:, 1] - spoiled[:, 0]
    steps = IsotonicRegression().fit_transform(odds, labels)
    ours = calibrated(spoiled, "isotonic", fit_calibration(spoiled, labels, "isotonic").parameters)[:, 1]
    assert np.abs(ours - truth).mean() < np.abs(steps - truth).mean()
    assert np.abs(ours - truth).mean() < np.abs(softmax(spoiled)[:, 1] - truth).mean() / 3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1e-3, 1.0, 50.0, 1e4]), st.sampled_from(METHODS))
def test_never_worse_than_none(seed, count, scale, method):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, scale, (count, 3)), random.integers(0, 3, count)
    result = fit_calibration(logits, labels, method)
    assert result.nll_after <= result.nll_before
    applied = calibrated(logits, method, result.parameters)
    assert np.isfinite(applied).all()
    assert negative_log_likelihood(applied, labels) == result.nll_after
    assert negative_log_likelihood(softmax(logits), labels) == result.nll_before
    json.dumps(asdict(result), allow_nan=False)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([0.01, 1.0, 10.0]))
def test_the_curve_strictly_increases_and_keeps_the_words_ratios(seed, count, scale):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    logits = random.normal(0, scale, (count, 3)) + 2 * scale * (np.arange(3) == labels[:, None])
    parameters = fit_calibration(logits, labels, "isotonic").parameters
    grid = np.linspace(-30 * scale, 30 * scale, 2_001)  # plateaus, jumps, and far beyond both ends
    negative = -np.log(np.exp(1.0) + np.exp(0.3))  # log-odds of some word are then those of the grid
    ramp = np.column_stack([np.full_like(grid, negative), grid + negative + 1.0, grid + negative + 0.3])
    after = calibrated(ramp + np.array([0, 0, 0]), "isotonic", parameters)
    odds = np.log(after[:, 1]) - np.log(after[:, 0])
    assert (np.diff(odds) >= 0.019 * np.diff(grid)).all()
    np.testing.assert_allclose(after[:, 1] / after[:, 2], np.exp(0.7), rtol=1e-9)


def test_scores_in_a_plateau_stay_apart_in_the_models_float32():
    """Sure of itself and wrong at times, but never above log-odds of 20: isotonic regression is level from there."""
    odds = np.linspace(-40, 40, 2_000)
    labels = (np.random.default_rng(0).random(2_000) < np.where(odds < -20, 0, np.where(odds > 20, 1, 0.5))).astype(int)
    logits = np.column_stack([np.zeros(2_000), odds])
    model = ScoringModel(TinyConvConfig(channels=4), 8, 32, 2)
    top = torch.from_numpy(logits[odds > 21]).float()
    with torch.no_grad():
        assert len(torch.softmax(top, 1)[:, 1].unique()) == 1
        calibration = fit_calibration(logits, labels, "isotonic")
        model.set_calibrator(calibration.method, calibration.parameters)
        scores = torch.softmax(model.calibrator(top), 1)[:, 1].numpy()
    assert IsotonicRegression().fit_transform(odds, labels)[odds > 21].min() == 1
    assert (np.diff(scores) > 0).all() and scores[-1] < 1


def test_perfect_separation_and_one_class_stay_bounded():
    for labels in ([0, 1], [0, 0], [1, 1]):
        for method in METHODS:
            result = fit_calibration([[5.0, -5.0], [-5.0, 5.0]], labels, method)
            assert np.abs(np.log(calibrated([[1.0, -1.0]], method, result.parameters))).max() < 100
    assert fit_calibration([[5.0, -5.0], [-5.0, 5.0]], [0, 1]).parameters["temperature"] >= 0.0499


@pytest.mark.parametrize("method", METHODS)
def test_the_model_applies_it_and_keeps_it_in_its_files(method, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ScoringModel(TinyConvConfig(channels=4), 8, 32, 3).eval()
    windows = torch.randn(200, 8, 32, generator=torch.Generator().manual_seed(1)) * 2
    with torch.no_grad():
        plain, logits = model(windows).numpy(), model.logits(windows).double().numpy()
    labels = np.random.default_rng(0).integers(0, 3, 200)
    calibration = fit_calibration(logits * 1.0, labels, method)
    model.set_calibrator(calibration.method, calibration.parameters)
    save_model(tmp_path, model, CARD)
    loaded, card = load_model(tmp_path)
    with torch.no_grad():
        scores = loaded(windows).numpy()
        assert np.array_equal(scores, model(windows).numpy())
        np.testing.assert_array_equal(loaded.logits(windows).double().numpy(), logits)
    assert card["calibration"] == method
    np.testing.assert_allclose(scores, calibrated(logits, method, calibration.parameters), atol=1e-6)
    assert np.abs(scores - plain).max() > 1e-3


def test_faulty_input():
    with pytest.raises(ValueError, match="fit"):
        fit_calibration([[1.0, 2.0]], [0, 1])
    with pytest.raises(ValueError, match="finite"):
        fit_calibration([[1.0, float("inf")]], [0])
    for method, parameters in (
        ("platt", {}),
        ("vector", {"scale": [1.0]}),
        ("temperature", {"temperature": float("nan")}),
        ("temperature", {"scale": [1.0, 1.0]}),
    ):
        with pytest.raises(DataError, match="calibrat"):
            calibrated([[1.0, 2.0]], method, parameters)


def test_separable_logits_are_not_sharpened_until_scores_round_to_one() -> None:
    """Scores of float32 must still tell the surest word from the next."""
    sure = np.linspace(1.0, 6.0, 40)
    logits = np.concatenate([np.column_stack([-sure, sure]), np.column_stack([sure, -sure])])
    truth = np.repeat([1, 0], 40)
    found = fit_calibration(logits, truth, "temperature")
    scores = calibrated(logits, "temperature", found.parameters)[:40, 1].astype(np.float32)
    assert (np.diff(scores) > 0).all() and scores.max() < 1
    alike = fit_calibration(10 * logits, truth, "temperature")
    assert alike.parameters["temperature"] == 1.0  # already surer than that: left as it is


def test_vector_scaling_does_not_round_scores_to_one_either() -> None:
    sure = np.linspace(1.0, 6.0, 40)
    logits = np.concatenate([np.column_stack([-sure, sure]), np.column_stack([sure, -sure])])
    found = fit_calibration(logits, np.repeat([1, 0], 40), "vector")
    scores = calibrated(logits, "vector", found.parameters)[:40, 1].astype(np.float32)
    assert scores.max() < 1 and len(np.unique(scores)) > 25


def test_sure_negatives_do_not_keep_words_from_being_sharpened() -> None:
    logits = np.concatenate(
        [np.column_stack([-np.ones(40), np.ones(40)]), np.column_stack([np.full(40, 20.0), -20.0 * np.ones(40)])]
    )
    assert fit_calibration(logits, np.repeat([1, 0], 40), "temperature").parameters["temperature"] < 0.2
