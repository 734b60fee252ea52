"""The runs that a build consists of: the manifest; each split by itself; the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from wakeword_core.config import SPLITS
from wakeword_core.errors import ConfigError
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import State, status

MANIFEST = "raw_manifest"


@dataclass(frozen=True)
class Phase:
    """One Dagster run: some assets, of one split or unpartitioned."""

    assets: tuple[str, ...]
    partition: str | None = None


def plan(project: Project, select: Sequence[str] = ()) -> list[Phase]:
    """The runs of a build of `select` (default: everything): unpartitioned ingest, a run a split, the rest."""
    stages = project.stages
    unknown = [name for name in select if name not in stages]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not an asset of this project; there are {', '.join(stages)}")
    chosen = [stage for stage in stages.values() if not select or stage.name in select]
    partitioned = tuple(stage.name for stage in chosen if stage.partitioned)
    names = list(stages)
    first_partitioned = min(names.index(stage.name) for stage in stages.values() if stage.partitioned)
    plain = [stage.name for stage in chosen if not stage.partitioned]
    before = tuple(name for name in plain if names.index(name) < first_partitioned)
    after = tuple(name for name in plain if names.index(name) > first_partitioned)
    phases = [Phase(before), *(Phase(partitioned, split) for split in SPLITS), Phase(after)]
    return [phase for phase in phases if phase.assets]


def due(project: Project, instance: dg.DagsterInstance) -> list[Phase]:
    """What is left to do of the first phase that is not done: one run, or one for each split; none when all is done.

    Done is what is fresh and recorded in Dagster.
    """
    left = {(one.stage, one.split) for one in status(project) if one.state != "fresh" or not recorded(one, instance)}
    phases = [
        Phase(assets, phase.partition)
        for phase in plan(project)
        if (assets := tuple(name for name in phase.assets if (name, phase.partition) in left))
    ]
    return [phase for phase in phases if phase.partition] if phases and phases[0].partition else phases[:1]


def recorded(state: State, instance: dg.DagsterInstance) -> bool:
    """Whether the newest materialization of an asset that Dagster knows of has the content that is there."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(state.stage), asset_partitions=[state.split] if state.split else None
        ),
        limit=1,
    ).records
    if not records or state.artifact is None:
        return False
    tags = records[0].asset_materialization.tags or {}  # type: ignore[union-attr]
    return tags.get("dagster/data_version") == state.artifact.content
