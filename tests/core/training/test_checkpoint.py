"""Checkpoints restore everything, or are passed over."""

import logging
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wakeword_core.training.checkpoint import (
    GROUPS,
    LAST,
    PREVIOUS,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from wakeword_core.training.records import EpochRecord


def _checkpoint(step: int) -> Checkpoint:
    weights = {"w": torch.full((2, 3), float(step)), "count": torch.tensor(step), "half": torch.ones(3).half()}
    record = EpochRecord(1, 1 / 3, 0.1, 0.5, 0.7, 0.4, 0.2, 0.7, 1e-3, 1.0, 100.0, 1.0)
    tensors = {name: {} for name in GROUPS} | {
        "model": weights,
        "average": {"w": torch.zeros(0)},
        "optimizer": {"0.0.exp_avg": torch.ones(2)},
        "random": {"cpu": torch.get_rng_state()},
    }
    return Checkpoint("run", step, 16, "cpu", {"scale": 2.0}, (record,) * step, tensors)


def _same(one: Checkpoint, other: Checkpoint) -> bool:
    facts = [
        [getattr(each, name.name) for name in fields(Checkpoint) if name.name != "tensors"] for each in (one, other)
    ]
    if facts[0] != facts[1] or one.tensors.keys() != other.tensors.keys():
        return False
    for group, mine in one.tensors.items():
        theirs = other.tensors[group]
        if mine.keys() != theirs.keys() or not all(torch.equal(mine[k], theirs[k]) for k in mine):
            return False
        if any(mine[k].dtype != theirs[k].dtype for k in mine):
            return False
    return True


def test_nothing_there(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", "run") is None


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _checkpoint(1))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert _same(loaded, _checkpoint(1))


def test_the_newest_is_used_and_only_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, _checkpoint(step))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.step == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [LAST, PREVIOUS]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.unlink()
    path.write_bytes(bytes(data))


def _foreign(path: Path) -> None:
    path.unlink()
    save_file({"x": torch.zeros(3)}, path)


def _saying(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Change what a checkpoint says besides its tensors, which stay whole."""

    def damage(path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()["checkpoint"]
        tensors = load_file(path)
        path.unlink()
        save_file(tensors, path, metadata={"checkpoint": change(facts)})

    return damage


STEPS = ('"step":1e999', '"step":Infinity', '"step":"two"', '"step":-1', '"step":[]')
FACTS = [
    *(_saying(lambda text, step=step: text.replace('"step":2', step)) for step in STEPS),
    _saying(lambda text: "[" * 200_000),
    _saying(lambda text: "[]"),
    _saying(lambda text: text.replace('"run"', '"ran"')),
]


@pytest.mark.parametrize("damage", [_cut, _flip, _foreign, *FACTS])
def test_a_damaged_last_falls_back_to_the_previous_with_a_warning(
    damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, _checkpoint(1))
    save_checkpoint(tmp_path, _checkpoint(2))
    damage(tmp_path / LAST)  # type: ignore[operator]
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert _same(loaded, _checkpoint(1))
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]
    assert "damaged" in caplog.text
    # the damaged one must not become the previous one
    save_checkpoint(tmp_path, _checkpoint(5))
    (tmp_path / LAST).unlink()
    again = load_checkpoint(tmp_path, "run")
    assert again is not None
    assert again.step == 1


def test_both_damaged_is_a_fresh_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path, _checkpoint(1))
    save_checkpoint(tmp_path, _checkpoint(2))
    _flip(tmp_path / LAST)
    _flip(tmp_path / PREVIOUS)
    assert load_checkpoint(tmp_path, "run") is None
    assert len(caplog.records) == 2


def test_a_kill_while_saving_leaves_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, _checkpoint(1))

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, _checkpoint(2))
    loaded = load_checkpoint(tmp_path, "run")
    assert loaded is not None
    assert loaded.step == 1


def test_another_runs_checkpoint_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(tmp_path, replace(_checkpoint(1), run="other"))
    assert load_checkpoint(tmp_path, "run") is None
    assert "other data or settings" in caplog.text


def test_a_checkpoint_that_cannot_be_opened_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, _checkpoint(1))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("wakeword_core.training.checkpoint.safe_open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        load_checkpoint(tmp_path, "run")
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, "run") is not None
