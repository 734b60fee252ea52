"""Every speaker group is in the test once: as many builds as folds, and what their reports say together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wakeword_core.artifacts import Artifact
from wakeword_core.config import SPLITS, Config
from wakeword_core.errors import ConfigError
from wakeword_core.progress import Progress, silent
from wakeword_core.project import Project

REPORT = "metrics_report"
FIGURES = ("frr", "fah", "eer", "roc_auc", "f1", "latency_p50")
"""Of each fold's report, whose mean and spread are told."""


@dataclass(frozen=True)
class Fold:
    """One fold's report: its number from 0, the key and figures of the artifact."""

    number: int
    key: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Together:
    """Folds together: mean and deviation of each figure over them, and all misses and alarms counted as one."""

    mean: dict[str, float]
    deviation: dict[str, float]
    frr: float
    fah: float
    words: int
    misses: int
    false_alarms: int
    background_hours: float


def fold_configs(config: Config, folds: int) -> list[Config]:
    """The configuration of each fold: test sets of equal shares of the speaker groups, which take turns.

    Sources that are held in a split stay there. Raises ConfigError where validation leaves nothing to train on.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds are no cross-validation; take at least 2")
    if all(source.split for source in config.data.sources):
        raise ConfigError(
            "no source of recordings is split by speaker, so that none can take turns; add one under data"
        )
    made = []
    for number in range(folds):
        tree = config.model_dump(mode="json")
        tree["data"] |= {"test_fraction": 1 / folds, "split_rotation": number / folds}
        try:
            made.append(Config.model_validate(tree))
        except ValueError as error:
            raise ConfigError(f"data.val_fraction is too large for {folds} folds; lower it, or take more") from error
    return made


def cross_validate(config: Config, home: Path, folds: int, progress: Progress = silent) -> Iterator[Fold]:
    """Build each fold up to its report in `home`, where what is there already is found, and yield it."""
    for number, one in enumerate(fold_configs(config, folds)):
        project = Project(one, home, progress)
        with project.store.in_use():
            report = _built_up_to_report(project)
        yield Fold(number, report.key, report.figures)


def _built_up_to_report(project: Project) -> Artifact:
    for stage, spec in project.stages.items():
        for split in SPLITS if spec.partitioned else (None,):
            artifact, _ = project.build(stage, split)
        if stage == REPORT:
            break
    return artifact


def together(folds: Sequence[Fold]) -> Together:
    """What at least two folds say together; figures that some fold lacks are left out."""
    figures = [one.figures for one in folds]
    told = [name for name in FIGURES if all(one.get(name) is not None for one in figures)]
    words, misses, alarms = (sum(one[name] for one in figures) for name in ("words", "misses", "false_alarms"))
    hours = sum(one["background_hours"] for one in figures)
    return Together(
        mean={name: mean(one[name] for one in figures) for name in told},
        deviation={name: stdev(one[name] for one in figures) for name in told},
        frr=misses / words,
        fah=alarms / hours,
        words=words,
        misses=misses,
        false_alarms=alarms,
        background_hours=hours,
    )
