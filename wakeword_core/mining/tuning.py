"""The tuning of the trained model on the clips that it fired at."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, ValMetric
from wakeword_core.cores import torch_threads
from wakeword_core.features.build import build_features
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.store import WindowSet, open_windows
from wakeword_core.files import link_or_copy
from wakeword_core.mining.miner import highest_scores
from wakeword_core.models.scoring import CARD, WEIGHTS, load_model
from wakeword_core.progress import Progress, silent
from wakeword_core.store.parts import Parts
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.loop import train
from wakeword_core.training.records import HISTORY, EpochRecord
from wakeword_core.training.starting import starting_config
from wakeword_core.training.validation import ValidationFigures, allowed_alarms, validate

ATTEMPT = "tuning"
"""Folder of the build that holds the training while it lasts, and what it goes on from when it is killed."""
_FEATURES = "mined_features"


@dataclass(frozen=True)
class Sources:
    """Folders that a tuning reads: the trained model, mined shards, those of training, features of both splits."""

    model: Path
    mined: Path
    shards: Path
    train: Path
    val: Path


def tuning_config(config: Config) -> Config:
    """Return the configuration with the epochs and the learning rate of the tuning in place of the training's."""
    schedule, tuning = starting_config(config).training.schedule, config.mining.tuning
    return config.changed(
        {
            "training.schedule.epochs": tuning.epochs,
            "training.schedule.learning_rate": schedule.peak * tuning.learning_rate_fraction,
            "training.validation.keep_every": 0,  # which is about the training's epochs
        }
    )


def tune(
    sources: Sources,
    cmvn: Cmvn,
    config: Config,
    device: str,
    out: Path,
    parts: Parts,
    progress: Progress = silent,
    on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    teacher: TeacherScores | None = None,
) -> dict[str, Any]:
    """Write the model that `mining.tuning.keep` asks for, and the tuning's history, to `out`; returns figures.

    Mined clips join the training windows as hard negatives with augmented views of their own, of which a `teacher` of
    the training windows says nothing: they count by their labels. Layers that the training did not move stay as they
    are here, too, and so does what features are normalised by. A killed tuning that is
    called again goes on after its last finished epoch, as any training; see `ATTEMPT`.
    """
    val = open_windows(sources.val)
    base, _ = load_model(sources.model)
    before = validation_figures(sources.model, val, config, device)
    mined = _mined_windows(sources, config, device, out / _FEATURES, parts, progress)
    attempt = out / ATTEMPT
    windows = open_windows(sources.train).joined(mined)
    taught = None if teacher is None else teacher.padded(len(windows))
    summary = train(windows, val, cmvn, tuning_config(config), attempt, progress, on_epoch, base, taught)
    after = ValidationFigures(
        **{field.name: getattr(summary, f"val_{field.name}") for field in fields(ValidationFigures)}
    )
    kept = config.mining.tuning.keep == "always" or no_worse(after, before, config.training.validation.metric)
    for name in (WEIGHTS, CARD):
        link_or_copy((attempt if kept else sources.model) / name, out / name)
    link_or_copy(attempt / HISTORY, out / HISTORY)
    tuned, _ = load_model(attempt)
    scores = {
        name: highest_scores(model, sources.mined, config, device) for name, model in (("", base), ("_tuned", tuned))
    }
    return {
        "tuned": True,
        "kept": kept,
        "mined_clips": len(scores[""]),
        "mined_windows": len(mined),
        **{f"mean_clip_score{name}": float(clip_scores.mean()) for name, clip_scores in scores.items()},
        **asdict(summary),
        **_named(after if kept else before, "val"),
        **_named(before, "base_val"),
        **_named(after, "tuned_val"),
    }


def no_worse(after: ValidationFigures, before: ValidationFigures, metric: ValMetric) -> bool:
    """Return whether tuned weights may be kept: by the metric that training goes by, and then the loss."""
    return (after.value(metric), -after.loss) >= (before.value(metric), -before.loss)


def validation_figures(model: Path, val: WindowSet, config: Config, device: str) -> ValidationFigures:
    """Measure the model in a folder on validation windows, as training does after an epoch."""
    training, hop_seconds = config.training, config.features.rows.negative_hop_seconds
    alarms = allowed_alarms(val.labels, hop_seconds, training.validation.false_alarms_per_hour)
    loaded, labels = load_model(model)[0].to(device), val.labels.to(device)
    with torch_threads(config.compute.threads):
        return validate(loaded, val.mel, labels, training.sampling.batch_size, training.validation.max_fpr, alarms)


def clean_up(out: Path) -> None:
    """Remove what only a tuning that goes on needs; what is left is the result."""
    for name in (_FEATURES, ATTEMPT):
        shutil.rmtree(out / name)


def _mined_windows(
    sources: Sources, config: Config, device: str, out: Path, parts: Parts, progress: Progress
) -> WindowSet:
    """Compute rows of mined clips, clean and augmented, with the noise and rooms of the training split."""
    if out.exists():  # of a build that was killed; its finished parts are kept elsewhere
        shutil.rmtree(out)
    out.mkdir(parents=True)
    build_features(sources.mined, "train", config, device, out, parts, progress, mixed_in=sources.shards)
    return open_windows(out)


def _named(figures: ValidationFigures, prefix: str) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in asdict(figures).items()}
