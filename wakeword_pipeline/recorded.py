"""Which artifacts the last builds that Dagster recorded made or found complete."""

from collections import defaultdict

import dagster as dg

from wakeword_core.store.graph import NodeId
from wakeword_pipeline.abandoned import BUILD_TAG

_RUNS_AT_ONCE = 100


def last_builds(instance: dg.DagsterInstance, count: int) -> set[NodeId]:
    """Artifacts of the last `count` builds that failed nowhere; all runs with one build tag are a build.

    A run that the UI started is a build of its own. Runs that made no artifact do not count.
    """
    builds: defaultdict[str, set[NodeId]] = defaultdict(set)
    failed: set[str] = set()
    cursor: str | None = None
    while True:
        runs = instance.get_runs(cursor=cursor, limit=_RUNS_AT_ONCE)
        for run in runs:
            build = run.tags.get(BUILD_TAG, run.run_id)
            if run.status is not dg.DagsterRunStatus.SUCCESS:
                failed.add(build)
            elif len(_good(builds, failed)) <= count:  # the last of them may have older runs still
                builds[build] |= _artifacts(instance, run.run_id)
        if len(runs) < _RUNS_AT_ONCE or len(_good(builds, failed)) > count:
            kept = _good(builds, failed)[:count]
            return set().union(*(builds[build] for build in kept))
        cursor = runs[-1].run_id


def _good(builds: dict[str, set[NodeId]], failed: set[str]) -> list[str]:
    """Builds that made something and failed nowhere, as far as is known, the newest first."""
    return [build for build, artifacts in builds.items() if artifacts and build not in failed]


def _artifacts(instance: dg.DagsterInstance, run_id: str) -> set[NodeId]:
    found = set()
    for record in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records:
        made = record.event_log_entry.asset_materialization
        if made is not None and "artifact_key" in made.metadata:
            found.add((made.asset_key.to_user_string(), str(made.metadata["artifact_key"].value)))
    return found
