"""The learning rate, step by step."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import TrainingConfig
from wakeword_core.training.schedule import learning_rate


def test_curve_by_hand() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup_fraction=0.4, final_lr_fraction=0.1)
    curve = [learning_rate(step, 10, config) for step in range(10)]
    assert curve[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert curve[4] == pytest.approx(1.0)
    assert curve[9] == pytest.approx(0.1)
    assert curve[4:] == sorted(curve[4:], reverse=True)


@settings(max_examples=40, deadline=None)
@given(total=st.integers(1, 300), warmup=st.floats(0, 0.99), final=st.floats(0, 1))
def test_rises_to_the_peak_and_falls_to_the_end(total: int, warmup: float, final: float) -> None:
    config = TrainingConfig(learning_rate=0.5, warmup_fraction=warmup, final_lr_fraction=final)
    curve = [learning_rate(step, total, config) for step in range(total)]
    top = curve.index(max(curve))
    assert max(curve) == pytest.approx(0.5)
    assert curve[: top + 1] == sorted(curve[: top + 1])
    assert all(one >= other - 1e-12 for one, other in zip(curve[top:], curve[top + 1 :], strict=False))
    assert all(0 <= rate <= 0.5 + 1e-12 for rate in curve)
    if total - round(warmup * total) >= 2:
        assert curve[-1] == pytest.approx(0.5 * final)
