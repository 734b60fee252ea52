"""What is left out is off, and nothing else changes."""

import pytest

from wakeword_core.ablations import ABLATIONS, without
from wakeword_core.config import Config, SpecAugmentConfig, TrainAugmentConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError

EVERYTHING = ["training.augment.shift_frames=4", "training.augment.isolate_probability=0.2", "synthesis.words=9"]
EVERYTHING += ["training.augment.mixup_alpha=0.3"]
EVERYTHING += ["training.augment.gain_db=[-3, 3]", "training.augment.style_probability=0.3"]
EVERYTHING += [f"features.augment.{name}_probability=0.3" for name in ("device", "tempo", "pitch")]


def changed(one: object, other: object, name: str = "") -> set[str]:
    """Names of settings that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {found for key in one for found in changed(one[key], other[key], f"{name}.{key}")}
    return set() if one == other else {name[1:]}


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_changes_its_own_settings_and_no_other(name: str) -> None:
    whole, less = (load_config(None, [*EVERYTHING, *more]).model_dump(mode="json") for more in ([], without([name])))
    found = changed(whole, less)
    assert found and found <= {setting.partition("=")[0] for setting in ABLATIONS[name]}


def test_all_that_augments_batches_can_be_left_out() -> None:
    bare = load_config(None, [*EVERYTHING, *without(list(ABLATIONS))])
    assert not bare.training.augment.unfit_for("mfcc") and bare.training.augment.shift_frames == 0
    assert bare.training.spec_augment.time_masks == bare.training.spec_augment.mel_masks == 0
    named = {setting.split("=")[0].rpartition(".")[2] for settings in ABLATIONS.values() for setting in settings}
    ranges = {"isolated_frames", "noise_snr_db", "time_frames", "mel_bands"}  # of what is left out by its chance
    assert set(TrainAugmentConfig.model_fields) | set(SpecAugmentConfig.model_fields) <= named | ranges
    assert bare != Config()


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match="'mixdown' cannot be left out; choose from views, "):
        without(["views", "mixdown"])
