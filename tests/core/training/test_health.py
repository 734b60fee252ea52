"""What a history shows that went wrong: histories made by hand, and toy trainings that are made to fail."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import CMVN, QUICK, TRAIN, VAL, config_for, history, merged, windows_for

from wakeword_core.features.store import WindowSet
from wakeword_core.training.health import Counts, find_faults
from wakeword_core.training.loop import train
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.validation import allowed_alarms

ENOUGH = Counts({"_negative": 900, "robin": 300}, words=200, others=600)


def records(losses: Sequence[float], vals: Sequence[float] | None = None, auc: float = 0.99) -> list[EpochRecord]:
    return [
        EpochRecord(epoch, loss, val, auc, auc, 0.9, 0.1, auc, 1e-3, 1.0, 100.0, 1.0, val_frr_but_two=0.1)
        for epoch, (loss, val) in enumerate(zip(losses, vals or losses, strict=True), 1)
    ]


def faults(found: Sequence[EpochRecord], counts: Counts = ENOUGH) -> dict[str, str]:
    return find_faults(found, found[-1], counts)


@pytest.mark.parametrize(
    ("losses", "vals"),
    [
        ((0.6, 0.3, 0.2, 0.15, 0.13, 0.12, 0.12, 0.12), None),
        ((0.6, 0.3, 0.2, 0.15, 0.13, 0.12, 0.12, 0.12), (0.5, 0.3, 0.2, 0.2, 0.2, 0.21, 0.22, 0.22)),
        ((0.02, 0.01, 0.01, 0.02), None),  # twice next to nothing is nothing
        ((0.6, 0.2, 1.4, 1.5, 1.4, 1.3), (0.6, 0.3, 0.2, 0.15, 0.15, 0.15)),  # difficult rows are drawn more often
        ((0.5,), None),
        ((0.9, 0.5, 0.2), None),  # of so few epochs nothing is said
    ],
)
def test_nothing_is_said_of_a_training_that_went_well(losses: Any, vals: Any) -> None:
    assert faults(records(losses, vals)) == {}


@pytest.mark.parametrize(
    ("losses", "vals", "name", "said"),
    [
        ((0.6, 0.3, 0.8, 0.5), (0.5, 0.4, 5.0, 2.0), "diverged", "from 0.300 in epoch 2 to 0.800 in epoch 3"),
        ((1.2, 0.6, 0.3, 0.1, 0.05), (0.9, 0.5, 0.6, 0.7, 0.8), "overfits", "after epoch 2 the validation loss rose"),
        ((1.2, 0.6, 0.3, 0.1, 0.05), (1.3, 1.3, 1.3, 1.3, 1.3), "overfits", "validation is ranked by chance"),
        ((1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), None, "still_falling", "from 0.500 to 0.300 after epoch 6"),
        ((1.0, 0.9, 0.8, 0.7), None, "still_falling", "33 % of all"),
    ],
)
def test_how_the_losses_move_is_named(losses: Any, vals: Any, name: str, said: str) -> None:
    found = faults(records(losses, vals, auc=0.55 if "chance" in said else 0.99))
    assert list(found) == [name] and said in found[name] and "training." in found[name]


@pytest.mark.parametrize(("best", "fails"), [(0.59, True), (0.61, False)])
def test_a_training_that_ranks_by_chance_learnt_nothing(best: float, fails: bool) -> None:
    found = records((0.7, 0.7, 0.7, 0.7, 0.7), auc=0.5)
    found[2] = replace(found[2], val_auc=best)
    assert ("never_left_chance" in faults(found)) is fails


def test_little_validation_is_said_with_what_a_word_is_worth() -> None:
    few = replace(ENOUGH, words=8, others=20)
    said = faults(records((0.6, 0.3)), few)["validation_too_small"]
    assert "8 windows with a wake word and 20 windows without" in said and "12 %" in said
    assert faults(records((0.6, 0.3)), replace(ENOUGH, words=20, others=100)) == {}


@pytest.mark.parametrize(
    ("missed", "but_two", "words", "fails"),
    [
        (0.10, 0.02, 200, True),
        (0.10, 0.06, 200, False),  # most are missed anyway
        (0.10, 0.00, 10, False),  # that is one word
        (0.04, 0.00, 200, False),
        (0.10, None, 200, False),  # of an earlier version
    ],
)
def test_a_threshold_that_two_clips_decide_is_named(missed: float, but_two: float, words: int, fails: bool) -> None:
    kept = replace(records((0.3,))[0], val_frr=missed, val_frr_but_two=but_two)
    found = find_faults([kept], kept, replace(ENOUGH, words=words))
    assert ("threshold_rests_on_two" in found) is fails


def test_a_class_with_next_to_no_recordings_is_named() -> None:
    counts = replace(ENOUGH, recordings={"_negative": 900, "robin": 9, "cat": 10})
    assert "only 9 recordings of 'robin' among 919" in faults(records((0.6, 0.3)), counts)["class_nearly_missing"]
    rare = replace(ENOUGH, recordings={"_negative": 9_000, "robin": 40})
    assert "40 recordings of 'robin'" in faults(records((0.6, 0.3)), rare)["class_nearly_missing"]


FEW, OTHERS = windows_for(5, strength=3.0, rows=12), windows_for(6, strength=1.0)
TOO_FAST = {
    "schedule": {"epochs": 5, "learning_rate": 1.0, "kind": "one_cycle", "warmup_fraction": 0.95},
    "sampling": {"steps_per_epoch": 8},
    "optimizer": {"kind": "sgd", "momentum": 0.95, "clip_norm": 1e6},
}


def mislabelled(rows: WindowSet) -> WindowSet:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(4))
    return replace(rows, labels=rows.labels[order], roles=rows.roles[order], word_ends=rows.word_ends[order])


@pytest.mark.parametrize(
    ("learnt", "judged", "settings", "name"),
    [
        (TRAIN, VAL, {"schedule": {"epochs": 6}, "sampling": {"steps_per_epoch": 12}}, ""),
        (TRAIN, VAL, TOO_FAST, "diverged"),
        (mislabelled(TRAIN), VAL, {"schedule": {"epochs": 4, "learning_rate": 1e-3}}, "never_left_chance"),
        (FEW, OTHERS, {"schedule": {"epochs": 5, "kind": "constant"}, "sampling": {"steps_per_epoch": 8}}, "overfits"),
        (TRAIN, VAL, {"schedule": {"epochs": 6, "learning_rate": 1e-3, "kind": "constant"}}, "still_falling"),
    ],
    ids=["healthy", "rate too high", "wrong labels", "few recordings", "rate too low"],
)
def test_a_training_that_is_made_to_fail_is_told_why(
    learnt: WindowSet, judged: WindowSet, settings: dict[str, Any], name: str, tmp_path: Path
) -> None:
    short = merged({**QUICK, "sampling": {"steps_per_epoch": 4}}, settings)
    train(learnt, judged, CMVN, config_for(**short), tmp_path)
    assert list(faults(history(tmp_path))) == ([name] if name else [])


def test_words_among_the_negatives_of_validation_are_what_a_threshold_rests_on(tmp_path: Path) -> None:
    words = torch.nonzero(VAL.labels)[:2, 0]
    labels = VAL.labels.clone()
    labels[words] = 0
    config = config_for(**merged(QUICK, {"schedule": {"epochs": 3}, "sampling": {"steps_per_epoch": 12}}))
    assert allowed_alarms(labels, config.features.rows.negative_hop_seconds, 0.5) == 0
    train(TRAIN, replace(VAL, labels=labels), CMVN, config, tmp_path)
    found = faults(history(tmp_path), Counts({"_negative": 60, "robin": 20}, words=18, others=62))
    assert "threshold_rests_on_two" in found and "validation_too_small" in found
