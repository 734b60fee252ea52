"""Dagster's view of the checks in wakeword_core: specs for the graph, results for a run."""

from collections.abc import Iterator

import dagster as dg

from wakeword_core.config import Split
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check
from wakeword_core.graph.stages import STAGES
from wakeword_pipeline.orchestration.metadata import figures_metadata

_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}


def checks_of(stage: str) -> tuple[Check, ...]:
    """Return the checks of a stage."""
    return next(made.checks for made in STAGES if made.name == stage)


def check_specs(stage: str) -> list[dg.AssetCheckSpec]:
    """The checks of an asset; a failed blocking one stops everything downstream in the run."""
    return [
        dg.AssetCheckSpec(check.name, asset=stage, description=check.description, blocking=check.blocking)
        for check in checks_of(stage)
    ]


def checks_of_nothing(stage: str, why: str) -> list[dg.AssetCheckResult]:
    """The checks of a stage that the configuration does not have: they hold."""
    return [
        dg.AssetCheckResult(passed=True, asset_key=stage, check_name=check.name, description=why)
        for check in checks_of(stage)
    ]


def check_results(project: Project, stage: str, split: Split | None) -> Iterator[dg.AssetCheckResult]:
    """Yield what each check of a stage's artifact found, as it is recorded beside it."""
    for verdict in project.verdicts(stage, split):
        yield dg.AssetCheckResult(
            passed=verdict.passed,
            asset_key=stage,
            check_name=verdict.check,
            description=verdict.description,
            severity=_SEVERITIES[verdict.severity],
            metadata=figures_metadata(verdict.figures),
        )
