"""The part of the configuration that a split's features depend on."""

from typing import Any

from wakeword_core.config import Config, Split

_HOW = {"batch_windows", "gpu_batch_windows", "strategy", "memory_gb", "workers"}
_OF_A_KIND = {"top_db": "mel_db", "n_mfcc": "mfcc"}
AUGMENTED_SPLIT: Split = "train"
"""The only split with augmented views; validation and test are clean."""


def feature_settings(config: Config, split: Split) -> dict[str, Any]:
    """Settings that change the numbers of `split`: not how they are computed, nor augmentation outside training."""
    features = config.features.model_dump(mode="json", exclude=_HOW)
    kind = features["frontend"]["kind"]
    for name in (name for name, of in _OF_A_KIND.items() if of != kind):
        features["frontend"].pop(name)
    if split != AUGMENTED_SPLIT:
        for name in ("augment", "views", "negative_views", "jitter_seconds", "context_frames"):
            features.pop(name)
    elif features["context_frames"]:
        features.pop("negative_hop_seconds")  # rows follow one another by their context
    return {
        **features,
        "split": split,
        "labels": list(config.labels),
        "sample_rate": config.data.sample_rate,
        "seed": config.seed,
    }
