"""How often the clean and the augmented views of recordings are drawn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import (
    CMVN,
    CONTEXT,
    LONG,
    TINY_TCN,
    VAL,
    VIEWED,
    KilledError,
    config_for,
    history,
    merged,
    same_weights,
    untimed,
)

from wakeword_core.ablations import without
from wakeword_core.config import Config, TcnConfig
from wakeword_core.config.loading import load_config
from wakeword_core.graph.stages import STAGES
from wakeword_core.training.data import Sampler
from wakeword_core.training.loop import train
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import run_hash

CLEAN = VIEWED.views == 0


def config(clean_share: float | None, **training: Any) -> Config:
    chosen = {
        "schedule": {"epochs": 2},
        "sampling": {"steps_per_epoch": 5, "clean_share": clean_share},
        "validation": {"keep": "last"},
    }
    return config_for(TcnConfig(**TINY_TCN, dropout=0.3), CONTEXT, **merged(chosen, training))


def rows(clean_share: float | None, difficulty: torch.Tensor | None = None, **training: Any) -> torch.Tensor:
    settings = config(clean_share, **training)
    return Sampler(VIEWED, settings.labels, settings.training, 1).epoch(0, difficulty)


@pytest.mark.parametrize("sampler", ["balanced", "difficulty", "plain"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_an_epoch_has_the_share_of_clean_views_in_every_kind(share: float, sampler: str) -> None:
    difficulty = torch.linspace(0, 1, len(VIEWED)) if sampler == "difficulty" else None
    drawn = rows(share, difficulty, sampling={"kind": sampler, "batch_size": 40, "mix": (0.25, 0.5, 0.25)})
    assert drawn.shape == (5, 40)
    # of what comes first in each batch, then second, ...: a kind has a place of its own where shares are fixed
    kinds = [slice(None)] if sampler == "plain" else [slice(0, 10), slice(10, 30), slice(30, 40)]
    for kind in kinds:
        assert CLEAN[drawn[:, kind]].float().mean() == pytest.approx(share)
    if 0 < share < 1:
        assert 0 < int(CLEAN[drawn[0]].sum()) < 40


def test_clean_views_come_without_early_repeats_and_otherwise_another_epoch() -> None:
    drawn = rows(0.5, sampling={"batch_size": 40, "mix": (0.25, 0.5, 0.25)})[:, :10].flatten()
    counts = torch.bincount(drawn, minlength=len(VIEWED))[VIEWED.labels > 0]
    assert int(counts.max()) - int(counts.min()) <= 1
    settings = config(0.5)
    sampler = Sampler(VIEWED, settings.labels, settings.training, 1)
    assert torch.equal(sampler.epoch(3), sampler.epoch(3)) and not torch.equal(sampler.epoch(3), sampler.epoch(4))


def test_difficult_windows_come_more_often_among_views_of_their_sort() -> None:
    difficulty = torch.zeros(len(VIEWED))
    hard = [0, 4]  # a positive in its clean and one in its augmented view
    difficulty[hard] = 1
    counts = torch.bincount(rows(0.8, difficulty, sampling={"batch_size": 40, "kind": "difficulty"}).flatten())
    assert counts[0] > 2 * counts[8] and counts[4] > 2 * counts[12] and counts[0] > counts[4]


def test_without_a_share_views_make_no_difference_and_a_kind_of_one_sort_keeps_it() -> None:
    assert torch.equal(rows(None), Sampler(LONG, config(None).labels, config(None).training, 1).epoch(0))
    settings = config(0.3)
    assert bool(CLEAN.any()) and Sampler(LONG, settings.labels, settings.training, 1).epoch(0).shape == (5, 16)


def test_noise_to_mix_in_is_clean_where_everything_is() -> None:
    settings = (config(share, sampling={"steps_per_epoch": 20}) for share in (0.9, 1.0))
    some, clean = (Sampler(VIEWED, chosen.labels, chosen.training, 1).noise(0) for chosen in settings)
    assert bool(CLEAN[clean].all()) and not bool(CLEAN[some].all())


def test_a_training_on_clean_views_sees_no_other(tmp_path: Path) -> None:
    """Whatever the augmented views hold."""
    broken = replace(VIEWED, mel=torch.where(CLEAN[:, None, None], VIEWED.mel, -VIEWED.mel))
    for name, windows, share in (("a", VIEWED, 1.0), ("b", broken, 1.0), ("c", VIEWED, None)):
        train(
            windows, VAL, CMVN, config(share, schedule={"epochs": 1}, sampling={"steps_per_epoch": 2}), tmp_path / name
        )
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings = config(0.3, schedule={"epochs": 3}, sampling={"steps_per_epoch": 2, "kind": "difficulty"})
    train(VIEWED, VAL, CMVN, settings, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(VIEWED, VAL, CMVN, settings, tmp_path / "parts", on_epoch=kill)
    train(VIEWED, VAL, CMVN, settings, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))


def test_a_share_is_part_of_the_key_and_none_leaves_keys_and_checkpoints_as_they_were() -> None:
    depends_on = next(stage.deciding_settings for stage in STAGES if stage.name == "trained_model")
    whole, less = (load_config(None, more) for more in ([], without(["views"])))
    assert depends_on(whole, None)["training"]["sampling"]["clean_share"] is None
    assert depends_on(less, None)["training"]["sampling"]["clean_share"] == 1
    assert less.features == whole.features
    hashes = [run_hash(windows, VAL, CMVN, config(share)) for windows in (LONG, VIEWED) for share in (None, 0.5)]
    assert hashes[0] == hashes[2] and len(set(hashes)) == 3
