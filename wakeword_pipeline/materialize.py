"""The body that all assets share: build or find the stage's artifact, describe it, check it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from wakeword_core.config import SPLITS, Split
from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.store.artifacts import Artifact
from wakeword_pipeline.checks import check_results
from wakeword_pipeline.metadata import artifact_metadata


@contextmanager
def failures_in_words() -> Iterator[None]:
    """Turn an error that is meant for a person into a Dagster failure that shows its sentence."""
    try:
        yield
    except WakewordError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def split_of(context: dg.AssetExecutionContext) -> Split | None:
    """The split this run is about, for a partitioned asset."""
    if not context.has_partition_key:
        return None
    return next(split for split in SPLITS if split == context.partition_key)


def materialize(
    context: dg.AssetExecutionContext,
    project: Project,
    extra: Callable[[Artifact, bool, bool], dict[str, Any]] = lambda artifact, built, passed: {},
) -> dg.MaterializeResult:
    """Build (or find complete) the stage that bears the asset's name; its content hash is the data version.

    `extra` is told whether the artifact was built now and whether it passed its blocking checks, and adds metadata.
    """
    stage = context.asset_key.to_user_string()
    split = split_of(context)
    with failures_in_words(), project.store.in_use():
        artifact, built = project.build(stage, split)
        metadata = {**artifact_metadata(artifact), "reused": not built}
        checks = list(check_results(project, stage, split))
        passed = all(check.passed for check in checks if check.severity is dg.AssetCheckSeverity.ERROR)
        metadata |= extra(artifact, built, passed)
    return dg.MaterializeResult(data_version=dg.DataVersion(artifact.content), metadata=metadata, check_results=checks)
