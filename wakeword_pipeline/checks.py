"""Dagster's view of the checks in wakeword_core: specs for the graph, results for a run."""

from collections.abc import Iterator

import dagster as dg

from wakeword_core.checks import checks_of
from wakeword_core.config import Config, Split
from wakeword_core.files import digest
from wakeword_core.project import Project
from wakeword_core.store.artifacts import Artifact
from wakeword_pipeline.metadata import figures_metadata

_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}
SETTINGS = "settings"
"""Metadata of a check: hash of the limits it was held against, which are no part of any artifact's key."""


def check_settings(config: Config) -> str:
    """Hash of everything in the configuration that only checks look at."""
    limits = ("training.min_val_auc", "export", "checks", "evaluation.operating_points", "evaluation.operating_point")
    return digest(config.subset(*limits))


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


def run_checks(project: Project, artifact: Artifact, split: Split | None) -> Iterator[dg.AssetCheckResult]:
    """Measure each check of the artifact's stage, from its files."""
    for check in checks_of(artifact.stage):
        verdict = check.run(project, artifact, split)
        yield dg.AssetCheckResult(
            passed=verdict.passed,
            asset_key=artifact.stage,
            check_name=check.name,
            description=verdict.description,
            severity=_SEVERITIES[verdict.severity or check.severity],
            metadata={**figures_metadata(verdict.figures), SETTINGS: check_settings(project.config)},
        )
