"""Which epoch is the best, and when to stop."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wakeword_core.training.records import (
    EpochRecord,
    best_record,
    epoch_line,
    kept_record,
    out_of_patience,
    read_history,
    summarise,
    write_history,
)


def record(epoch: int, pauc: float, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch, 1.0, loss, 0.5, pauc, 0.5, 0.5, pauc, 1e-3, 1.0, 100.0, 1.0)


def test_the_first_epoch_is_the_best_however_bad() -> None:
    assert best_record([]) is None
    first = record(1, 0.0, 1e9)
    assert best_record([first]) is first
    assert not out_of_patience([], 1)


def test_loss_breaks_ties_and_the_earlier_wins_among_equals() -> None:
    history = [record(1, 0.9, 0.5), record(2, 1.0, 0.3), record(3, 1.0, 0.2), record(4, 1.0, 0.2), record(5, 0.95, 0.1)]
    best = best_record(history)
    assert best is history[2]


def test_what_is_kept_is_the_best_or_the_last() -> None:
    history = [record(1, 0.9), record(2, 1.0), record(3, 0.8)]
    assert kept_record(history, "best") is history[1]
    assert kept_record(history, "last") is history[2]
    assert kept_record([], "best") is kept_record([], "last") is None


def test_patience_counts_epochs_since_the_best() -> None:
    history = [record(1, 0.9), record(2, 0.8), record(3, 0.8)]
    assert out_of_patience(history, 2)
    assert not out_of_patience(history, 3)
    assert not out_of_patience([*history, record(4, 0.95)], 2)


def test_history_is_a_line_an_epoch(tmp_path: Path) -> None:
    for _ in range(2):
        write_history(tmp_path / "history.jsonl", [record(1, 0.9), record(2, 0.8)])
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [EpochRecord(**line) for line in lines] == [record(1, 0.9), record(2, 0.8)]


def test_a_history_of_an_earlier_version_is_read_and_told_of(tmp_path: Path) -> None:
    known = ("epoch", "train_loss", "val_loss", "val_auc", "val_pauc", "val_f1", "val_frr", "val_score")
    known += ("learning_rate", "gradient_norm", "samples_per_second", "seconds")
    older = {name: 1 if name == "epoch" else 0.5 for name in known}
    (tmp_path / "history.jsonl").write_text(json.dumps(older) + "\n")
    (found,) = read_history(tmp_path / "history.jsonl")
    assert found.val_fpr is None and found.memory_mb is None
    assert epoch_line(found, 4).startswith("epoch 1 of 4: loss 0.5000, validation loss 0.5000, F1 0.500, learning rate")
    summary = summarise([found], found, 100, 7, stopped_early=False)
    assert (summary.cpu_cores, summary.memory_mb, summary.val_fnr, summary.clipped_steps) == (None, None, None, 0)


def test_an_epoch_is_told_in_one_line() -> None:
    told = replace(record(2, 0.9, 0.25), val_fpr=0.0123, val_fnr=0.5, seconds=12.34, seconds_left=1234.5)
    assert epoch_line(told, 9) == (
        "epoch 2 of 9: loss 1.0000, validation loss 0.2500, F1 0.500, FPR 1.23 % and FNR 50.0 % at 0.5, "
        "learning rate 0.001, 12.3 s, about 1,234 s left"
    )
    assert "left" not in epoch_line(replace(told, seconds_left=0.0), 9)


def test_what_was_used_is_summed_up_over_the_epochs() -> None:
    short = replace(record(1, 0.5), seconds=1.0, cpu_cores=4.0, memory_mb=300.0, clipped_steps=2)
    long = replace(record(2, 0.6), seconds=3.0, cpu_cores=2.0, memory_mb=200.0, clipped_steps=1)
    unknown = replace(record(3, 0.7), seconds=9.0)
    summary = summarise([short, long, unknown], long, 100, 7, stopped_early=True)
    assert summary.cpu_cores == pytest.approx(2.5) and summary.memory_mb == 300.0 and summary.clipped_steps == 3
    assert summary.gpu_share is None and summary.best_epoch == 2
