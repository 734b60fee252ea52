"""Every speaker group is in the test once: as many builds as folds, and what their reports say together.

But for sources that are held in one split, and synthetic voices of the test, which are in the test of every fold.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wakeword_core.config import Config, Split
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.evaluation.measure.intervals import Interval, mean_interval
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Severity
from wakeword_core.progress import Progress, silent
from wakeword_core.store.artifacts import Artifact, artifact_name

log = logging.getLogger(__name__)

REPORT = "metrics_report"
FIGURES = ("frr", "fah", "eer", "roc_auc", "f1", "latency_p50")
"""Of each fold's report, whose mean and spread are told."""
_LIMITS = dict.fromkeys(FIGURES, (0.0, 1.0)) | {"fah": (0.0, math.inf), "latency_p50": (-math.inf, math.inf)}
"""What there is of each."""


@dataclass(frozen=True)
class Failure:
    """A check that did not hold of a fold's artifact."""

    artifact: str
    check: str
    severity: Severity
    description: str


@dataclass
class Fold:
    """One fold: its number from 0, the key and figures of its report, and what its checks found.

    `problem` says why it failed, if it did; then it has no report.
    """

    number: int
    key: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    checks: int = 0
    """How many were run."""
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
    """The configuration of each fold: test sets of equal shares of the speaker groups, which take turns.

    Sources that are held in a split stay there. Raises ConfigError where validation leaves nothing to train on.
    """
    if folds < 2:
        raise ConfigError(f"{folds} folds are no cross-validation; take at least 2")
    if all(source.split for source in config.data.sources):
        raise ConfigError(
            "cross-validation needs speakers who take turns in the test, and splits hold every source that there is; "
            "add one under data"
        )
    made = []
    for number in range(folds):
        tree = config.model_dump(mode="json")
        tree["data"]["splits"] |= {"test_fraction": 1 / folds, "rotation": number / folds}
        try:
            made.append(Config.model_validate(tree))
        except ValueError as error:
            raise ConfigError(
                f"data.splits.val_fraction is too large for {folds} folds; lower it, or take more"
            ) from error
    return made


def cross_validate(config: Config, home: Path, folds: int, progress: Progress = silent) -> Iterator[Fold]:
    """Build and check each fold up to its report in `home`, where what is there already is found, and yield it.

    One that fails, as by a check that stops any build, is yielded too and keeps no other from being built.
    """
    for number, one in enumerate(fold_configs(config, folds)):
        project, fold = Project(one, home, progress), Fold(number)
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
    """Note what does not hold of an artifact; a WakewordError where nothing may be built on it."""
    name = artifact_name(artifact.stage, split)
    for verdict in project.verdicts(artifact.stage, split):
        fold.checks += 1
        if not verdict.passed:
            fold.failures.append(Failure(name, verdict.check, verdict.severity, verdict.description))
        if verdict.stops:
            raise WakewordError(f"the check {verdict.check} of {name} does not hold: {verdict.description}")


def together(folds: Sequence[Fold], confidence: float = 0.95) -> Together | None:
    """What the folds that did not fail say together, None of fewer than two; figures that one lacks are left out."""
    figures = [one.figures for one in folds if not one.problem]
    if len(figures) < 2:
        return None
    values = {
        name: [one[name] for one in figures] for name in FIGURES if all(one.get(name) is not None for one in figures)
    }
    words, misses, alarms = (sum(one[name] for one in figures) for name in ("words", "misses", "false_alarms"))
    hours = sum(one["background_hours"] for one in figures)
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
    """Of a few folds it may reach beyond what there is."""
    least, most = _LIMITS[name]
    return Interval(max(interval.low, least), min(interval.high, most))
