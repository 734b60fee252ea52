"""The learning rate, step by step."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_rates import SCHEDULES, example_rates, rates_picture
from PIL import Image, ImageColor
from sweeps_to_train import CMVN, TRAIN, VAL, config_for, history

from wakeword_core.config import ScheduleConfig
from wakeword_core.drawing import PALETTE
from wakeword_core.training.loop import train
from wakeword_core.training.optim import Optimizers, learning_rate, plateau_drops


def test_curve_by_hand() -> None:
    config = ScheduleConfig.model_validate({"learning_rate": 1.0, "warmup_fraction": 0.4, "final_lr_fraction": 0.1})
    curve = [learning_rate(step, 10, config) for step in range(10)]
    assert curve[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert curve[4] == pytest.approx(1.0)
    assert curve[9] == pytest.approx(0.1)
    assert curve[4:] == sorted(curve[4:], reverse=True)


@settings(max_examples=40, deadline=None)
@given(total=st.integers(1, 300), warmup=st.floats(0, 0.99), final=st.floats(0, 1))
def test_rises_to_the_peak_and_falls_to_the_end(total: int, warmup: float, final: float) -> None:
    schedule = {"learning_rate": 0.5, "warmup_fraction": warmup, "final_lr_fraction": final}
    config = ScheduleConfig.model_validate(schedule)
    curve = [learning_rate(step, total, config) for step in range(total)]
    top = curve.index(max(curve))
    assert max(curve) == pytest.approx(0.5)
    assert curve[: top + 1] == sorted(curve[: top + 1])
    assert all(one >= other - 1e-12 for one, other in zip(curve[top:], curve[top + 1 :], strict=False))
    assert all(0 <= rate <= 0.5 + 1e-12 for rate in curve)
    if total - round(warmup * total) >= 2:
        assert curve[-1] == pytest.approx(0.5 * final)


def curve(total: int, **schedule: object) -> list[float]:
    config = ScheduleConfig.model_validate({"learning_rate": 0.5, **schedule})
    return [learning_rate(step, total, config) for step in range(total)]


def test_one_cycle_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=50, pct_start=0.3)
    expected = []
    for _ in range(50):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert curve(50, kind="one_cycle", warmup_fraction=0.3) == pytest.approx(expected, rel=1e-6)


def test_steps_and_constant_by_hand() -> None:
    rates = curve(12, kind="step", warmup_fraction=0.17, drop_at=(0.4, 0.8), drop_factor=0.1)
    assert rates == pytest.approx([0.25, 0.5, *[0.5] * 4, *[0.05] * 4, *[0.005] * 2])
    assert curve(4, kind="constant", warmup_fraction=0.5) == pytest.approx([0.25, 0.5, 0.5, 0.5])


@settings(max_examples=40, deadline=None)
@given(scores=st.lists(st.integers(0, 5), max_size=30), patience=st.integers(1, 4))
def test_plateaus_are_torchs(scores: list[int], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch drops when more epochs than its patience were no better, and no rate below eps by default
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience - 1, threshold=0.0, eps=0.0
    )
    for score in scores:
        theirs.step(float(score))
    drops = plateau_drops([(float(score),) for score in scores], patience)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5**drops)


@pytest.fixture(scope="module")
def realised_rates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[float]]]:
    """Schedule -> the rate of each step of a training; at the end they are stored as a picture."""
    rates: dict[str, list[float]] = {}
    yield rates
    picture = tmp_path_factory.mktemp("schedules") / "realised_rates.png"
    picture.write_bytes(rates_picture(rates))
    with Image.open(picture) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    drawn = {ImageColor.getrgb(one) for one in PALETTE[: len(rates)]}
    assert {min(colours, key=lambda one: math.dist(one, wanted)) for wanted in drawn} == drawn & colours


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rates_of_a_training_are_the_schedules(
    schedule: str, realised_rates: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of a real training, also where the loss stands still: elsewhere a rate stayed in its warm-up."""
    realised, step = [], Optimizers.step
    monkeypatch.setattr(Optimizers, "step", lambda self, *given: realised.append(self.rate) or step(self, *given))
    config = config_for(
        schedule={
            "kind": schedule,
            "warmup_fraction": 0.25,
            "plateau_patience": 1,
            "drop_factor": 0.5,
            "learning_rate": 1e-9,
        }
    )
    train(TRAIN, VAL, CMVN, config, tmp_path)
    scores = [record.score for record in history(tmp_path)]
    expected = [learning_rate(step, 24, config.training.schedule, scores[: step // 4]) for step in range(24)]
    assert realised == pytest.approx(expected) and len(set(realised)) > 4
    assert [record.learning_rate for record in history(tmp_path)] == pytest.approx(expected[3::4])
    if schedule == "plateau":
        assert realised[-1] < realised[8]
    realised_rates[schedule] = realised


def test_the_picture_of_the_documents_is_of_every_schedule() -> None:
    rates = example_rates()
    assert tuple(rates) == SCHEDULES and len({tuple(one) for one in rates.values()}) == 5
    assert len({len(one) for one in rates.values()}) == 1
    assert len(set(rates["plateau"][500:])) == 3 and rates["plateau"][-1] < rates["plateau"][500]
    assert rates_picture(rates) != rates_picture({name: one for name, one in rates.items() if name != "step"})
