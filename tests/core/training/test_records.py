"""Which epoch is the best, and when to stop."""

import json
from pathlib import Path

from wakeword_core.training.records import EpochRecord, best_record, kept_record, out_of_patience, write_history


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
