"""Cross-validation: as many builds as folds, so that every speaker group is in the test once.

Only sources that are held in one split, and synthetic voices of the test, are in the test of every fold.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wakeword_core.config import Config, Split
from wakeword_core.config.training import THE_CHAMPION
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.evaluation.measure.intervals import Interval, mean_interval
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Severity
from wakeword_core.progress import Progress, silent
from wakeword_core.store.artifacts import Artifact, artifact_name

log = logging.getLogger(__name__)

REPORT = "metrics_report"
FIGURES = ("frr", "fah", "eer", "roc_auc", "f1", "latency_p50")
"""Figures of each fold's report of which mean and spread are given."""
_LIMITS = dict.fromkeys(FIGURES, (0.0, 1.0)) | {"fah": (0.0, math.inf), "latency_p50": (-math.inf, math.inf)}
"""The least and the largest value that each can have."""


@dataclass(frozen=True)
class Failure:
    """A check that a fold's artifact did not pass."""

    artifact: str
    check: str
    severity: Severity
    description: str


@dataclass
class Fold:
    """One fold: its number from 0, the key and figures of its report, and the checks that failed.

    `problem` says why the fold itself failed, if it did; then it has no report.
    """

    number: int
    key: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    checks: int = 0
    failures: list[Failure] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Together:
    """Folds together: mean, deviation and interval of each figure over them, and all misses and alarms as one.

    The interval is Student's, as if folds were independent. They are not quite, since each is trained on much of what
    the others are: the truth may lie outside of it somewhat more often (Bengio and Grandvalet 2004). What is in every
    fold's test counts once a fold.
    """

    mean: dict[str, float]
    deviation: dict[str, float]
    interval: dict[str, Interval]
    frr: float
    fah: float
    words: int
    misses: int
    false_alarms: int
    background_hours: float


def fold_configs(config: Config, folds: int) -> list[Config]:
    """Return the configuration of each fold: test sets of equal shares of the speaker groups, which take turns.

    They have no judge: the figures of folds are of the model alone. Sources that are held in a split stay there. Raises
    ConfigError where validation leaves nothing to train on.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds are no cross-validation; take at least 2")
    if config.training.start_from == THE_CHAMPION:
        raise ConfigError(
            "training.start_from is champion, which has learnt from what folds are tested on; set it to null for folds"
        )
    if all(source.split for source in config.data.sources):
        raise ConfigError(
            "cross-validation needs speakers who take turns in the test, and splits hold every source that there is; "
            "add one under data"
        )
    configs = []
    for number in range(folds):
        tree = config.model_dump(mode="json")
        tree["data"]["splits"] |= {"test_fraction": 1 / folds, "rotation": number / folds}
        tree["judge"]["enabled"] = tree["export"]["openwakeword"]["enabled"] = False
        try:
            configs.append(Config.model_validate(tree))
        except ValueError as error:
            raise ConfigError(
                f"data.splits.val_fraction is too large for {folds} folds; lower it, or take more"
            ) from error
    return configs


def cross_validate(config: Config, home: Path, folds: int, progress: Progress = silent) -> Iterator[Fold]:
    """Build and check each fold up to its report in `home`, and yield it; what is there already is not built again.

    A fold that fails, as by a check that stops any build, is yielded too and keeps no other from being built.
    """
    for number, fold_config in enumerate(fold_configs(config, folds)):
        project, fold = Project(fold_config, home, progress), Fold(number)
        try:
            with project.store.in_use():
                report = _built_up_to_report(project, fold)
            fold.key, fold.figures = report.key, report.figures
        except WakewordError as error:
            fold.problem = str(error)
            log.error("fold %d failed: %s", number, error)
        yield fold


def _built_up_to_report(project: Project, fold: Fold) -> Artifact:
    for stage, spec in project.stages.items():
        for split in spec.splits:
            artifact, _ = project.build(stage, split)
            _check(project, artifact, split, fold)
        if stage == REPORT:
            break
    return artifact


def _check(project: Project, artifact: Artifact, split: Split | None, fold: Fold) -> None:
    """Note the checks that an artifact does not pass; WakewordError where nothing may be built on it."""
    name = artifact_name(artifact.stage, split)
    for verdict in project.verdicts(artifact.stage, split):
        fold.checks += 1
        if not verdict.passed:
            fold.failures.append(Failure(name, verdict.check, verdict.severity, verdict.description))
        if verdict.stops:
            raise WakewordError(f"the check {verdict.check} of {name} failed: {verdict.description}")


def together(folds: Sequence[Fold], confidence: float = 0.95) -> Together | None:
    """Put the folds that did not fail together; None for fewer than two. Figures that a fold lacks are left out."""
    reports = [fold.figures for fold in folds if not fold.problem]
    if len(reports) < 2:
        return None
    complete = [name for name in FIGURES if all(report.get(name) is not None for report in reports)]
    values = {name: [report[name] for report in reports] for name in complete}
    words, misses, alarms = (sum(report[name] for report in reports) for name in ("words", "misses", "false_alarms"))
    hours = sum(report["background_hours"] for report in reports)
    return Together(
        mean={name: mean(several) for name, several in values.items()},
        deviation={name: stdev(several) for name, several in values.items()},
        interval={name: _within(mean_interval(several, confidence), name) for name, several in values.items()},
        frr=misses / words,
        fah=alarms / hours,
        words=words,
        misses=misses,
        false_alarms=alarms,
        background_hours=hours,
    )


def _within(interval: Interval, name: str) -> Interval:
    """Cut off what no figure can be: the interval of a few folds may reach there."""
    least, most = _LIMITS[name]
    return Interval(max(interval.low, least), min(interval.high, most))
