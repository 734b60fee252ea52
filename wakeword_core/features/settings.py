"""The part of the configuration that a split's features depend on."""

from typing import Any

from wakeword_core.config import Config, Split

EVERY_SPLIT = ("seed", "data.audio.sample_rate", "labels", "features.frontend", "features.windows", "features.rows")
"""Branches of the configuration that the rows of each split depend on."""
AUGMENTED_ROWS = ("features.context", "features.augment")
"""Branches that augmented rows depend on besides."""
AUGMENTED_SPLIT: Split = "train"
"""The only split with augmented views; validation and test are clean."""


def feature_settings(config: Config, split: Split) -> dict[str, Any]:
    """Return the settings that decide the numbers of `split`: of augmentation in training only."""
    branches = (*EVERY_SPLIT, *(AUGMENTED_ROWS if split == AUGMENTED_SPLIT else ()))
    return {**config.subset(*branches), "split": split}
