"""Temperature scaling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.evaluation.calibration import fit_temperature, softmax


def drawn(seed, temperature, count=4_000):
    """Logits that are overconfident by `temperature`, and labels drawn from the true probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 3))
    labels = (softmax(logits).cumsum(axis=1) < random.random((count, 1))).sum(axis=1).clip(max=2)
    return logits * temperature, labels


@pytest.mark.parametrize("true", [0.5, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(true):
    result = fit_temperature(*drawn(1, true))
    assert result.temperature == pytest.approx(true, rel=0.1)
    assert result.nll_after < result.nll_before and result.ece_after < result.ece_before / 2
    assert result.count == 4_000


def test_it_is_a_minimum():
    logits, labels = drawn(2, 1.7, 500)
    best = fit_temperature(logits, labels)
    for factor in (0.97, 1.03):
        beside = softmax(logits, best.temperature * factor)[np.arange(500), labels]
        assert -np.log(beside).mean() > best.nll_after


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1e-3, 1.0, 50.0, 1e4]))
def test_never_worse_than_none(seed, count, scale):
    random = np.random.default_rng(seed)
    result = fit_temperature(random.normal(0, scale, (count, 2)), random.integers(0, 2, count))
    assert result.nll_after <= result.nll_before
    assert 0.05 <= result.temperature <= 20


def test_perfect_separation_stays_bounded():
    assert fit_temperature([[5.0, -5.0], [-5.0, 5.0]], [0, 1]).temperature >= 0.05


def test_faulty_input():
    with pytest.raises(ValueError, match="fit"):
        fit_temperature([[1.0, 2.0]], [0, 1])
    with pytest.raises(ValueError, match="finite"):
        fit_temperature([[1.0, float("inf")]], [0])
