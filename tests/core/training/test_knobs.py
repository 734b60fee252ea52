"""Every setting of augmentation and loss changes what is learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import AUGMENT, CMVN, CONTEXT, LONG, LOSS, TRAIN, VAL, config_for, history, same_weights

from wakeword_core.config import ROLES, LossConfig, TrainAugmentConfig
from wakeword_core.training.loop import train


def test_masks_have_an_effect(tmp_path: Path) -> None:
    for name, count in (("plain", 0), ("masks", 2)):
        masks = {"time_masks": count, "time_frames": 8, "mel_masks": 0}
        train(TRAIN, VAL, CMVN, config_for(schedule={"epochs": 1}, spec_augment=masks), tmp_path / name)
    assert not same_weights(tmp_path / "plain", tmp_path / "masks")


OTHER_AUGMENT = {
    "band_warp": 0.0,
    "colour_db": 0.0,
    "gain_db": (2.0, 3.0),
    "isolate_probability": 0.0,
    "isolated_frames": (4, 6),
    "shift_frames": 5,
    "mixup_alpha": 1.0,
    "style_probability": 0.5,
    "noise_probability": 0.0,
    "noise_snr_db": (0.0, 0.0),
}
OTHER_LOSS = {
    "kind": "focal",
    "focal_gamma": 0.5,
    "focal_alpha": 0.25,
    "label_smoothing": 0.0,
    "pooling": "window",
    "hit_seconds": 0.2,
    "best_steps": 1,
    "early_seconds": 0.15,
    "early_weight": 0.0,
    "worst_early_steps": 1,
    "worst_steps": 1,
    "all_steps_weight": 0.0,
    "class_weights": "balanced",
    "hard_negative_weight": 3.0,
    "metric": "triplet",
    "metric_weight": 0.5,
    "triplet_distance": "cosine",
    "triplet_margin": 0.0,
    "triplet_soft_margin": True,
    "arcface_scale": 8.0,
    "arcface_margin": 0.1,
}
PART_OF = {"focal_": {"kind": "focal"}, "metric_": {"metric": "arcface"}}
PART_OF |= {"triplet_": {"metric": "triplet"}, "arcface_": {"metric": "arcface"}}
"""Settings whose names begin so matter only with these."""


def test_every_knob_of_augmentation_and_loss_is_tried() -> None:
    assert AUGMENT.keys() == OTHER_AUGMENT.keys() == TrainAugmentConfig.model_fields.keys()
    # losses of other packages have tests of their own
    assert LOSS.keys() == OTHER_LOSS.keys() == LossConfig.model_fields.keys() - {"plugin"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch with LOSS and AUGMENT on rows longer than a window."""
    out: Path = tmp_path_factory.mktemp("plain")
    train(LONG, VAL, CMVN, config_for(context=CONTEXT, schedule={"epochs": 1}, sampling={"steps_per_epoch": 2}), out)
    return out


@pytest.mark.parametrize(
    ("group", "name"), [("augment", name) for name in OTHER_AUGMENT] + [("loss", name) for name in OTHER_LOSS]
)
def test_every_knob_has_an_effect(group: str, name: str, plain: Path, tmp_path: Path) -> None:
    whole, other = {"augment": (AUGMENT, OTHER_AUGMENT), "loss": (LOSS, OTHER_LOSS)}[group]
    needed = next((one for start, one in PART_OF.items() if name.startswith(start)), {})

    def trained(out: Path, settings: dict[str, Any]) -> Path:
        changed = {group: {**whole, **needed, **settings}}
        train(
            LONG,
            VAL,
            CMVN,
            config_for(context=CONTEXT, schedule={"epochs": 1}, sampling={"steps_per_epoch": 2}, **changed),
            out,
        )
        return out

    before = trained(tmp_path / "before", {}) if needed else plain
    after = trained(tmp_path / "after", {name: other[name]})
    if name == "triplet_margin":  # no triplet is right in the first steps, and then the margin is a constant
        assert history(before)[0].train_loss != history(after)[0].train_loss
    else:
        assert not same_weights(before, after)


def test_where_words_end_and_noise_have_an_effect(plain: Path, tmp_path: Path) -> None:
    config = config_for(context=CONTEXT, schedule={"epochs": 1}, sampling={"steps_per_epoch": 2})
    noiseless = torch.where(LONG.roles == ROLES.index("background"), ROLES.index("negative"), LONG.roles)
    moved = torch.where(LONG.word_ends < 0, -1, LONG.word_ends - 12)
    for name, data in (("ends", replace(LONG, word_ends=moved)), ("noise", replace(LONG, roles=noiseless))):
        train(data, VAL, CMVN, config, tmp_path / name)
        assert not same_weights(plain, tmp_path / name), name
