"""What is due: the one planner behind the command, the sensor and the nightly build."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from wakeword_core.config import SPLITS, Config, Split
from wakeword_core.errors import ConfigError
from wakeword_core.files import digest
from wakeword_core.graph.packages import require_packages
from wakeword_core.graph.project import Place, Project
from wakeword_core.graph.promotion import standing_decision
from wakeword_core.graph.stage import Stage
from wakeword_core.stage_names import COMPARISON
from wakeword_core.store.artifacts import artifact_name

CODE_VERSION_TAG = "dagster/code_version"
_DATA_VERSION_TAG = "dagster/data_version"
_DIGITS = 12


@dataclass(frozen=True)
class Phase:
    """One Dagster run: some assets of one split, or assets without splits."""

    assets: tuple[str, ...]
    partition: str | None = None

    @property
    def places(self) -> list[Place]:
        """Return the stages and the split that the run makes."""
        split = next((split for split in SPLITS if split == self.partition), None)
        return [(stage, split) for stage in self.assets]

    def __str__(self) -> str:
        where = f" of {self.partition}" if self.partition else ""
        return f"{', '.join(self.assets)}{where}"


def due(
    project: Project, instance: dg.DagsterInstance, select: Sequence[str] = (), made: Collection[Place] = ()
) -> list[Phase]:
    """Plan the runs to make next of `select` (default: everything): one, one for each split, or none when all is done.

    Done is what is complete, recorded in Dagster with its content and settings, and checked. What this build has `made`
    counts as recorded, whatever another build of the home has recorded since. What a failed check stops is not due.
    A build has three parts, one after the other: what comes before the splits, the splits, the rest. When all of it is
    done, the comparison is due where the gate would now decide otherwise. ConfigError for an unknown asset,
    MissingDependencyError for packages that what is due needs.
    """
    wanted = places(project, select)
    stopped = _downstream(project, failed_checks(project))
    left = [
        place
        for place in wanted
        if place not in stopped and not _is_done(project, None if place in made else instance, *place)
    ]
    comparison: Place = (COMPARISON, None)
    if not left and comparison in wanted and comparison not in stopped and standing_decision(project) is None:
        left = [comparison]
    if left:
        require_packages(project, {stage for stage, _ in left})  # of the whole plan, not of the next run alone
    names = list(project.stages)
    partitioned = [names.index(stage.name) for stage in project.stages.values() if stage.partitioned]
    before = tuple(stage for stage, split in left if split is None and names.index(stage) < min(partitioned, default=0))
    if before:
        return [Phase(before)]
    runs = [Phase(tuple(stage for stage, of in left if of == split), split) for split in (*SPLITS, None)]
    runs = [run for run in runs if run.assets]
    return [run for run in runs if run.partition] or runs


def places(project: Project, select: Sequence[str] = ()) -> list[Place]:
    """List the stages and splits that a build of `select` makes, in build order; ConfigError for an unknown asset."""
    unknown = [name for name in select if name not in project.stages]
    if unknown:
        raise ConfigError(f"{unknown[0]} is not an asset of this project; there are {', '.join(project.stages)}")
    return [
        (stage.name, split)
        for stage in project.stages.values()
        if not select or stage.name in select
        for split in stage.splits
    ]


def failed_checks(project: Project, select: Sequence[str] = ()) -> dict[Place, str]:
    """Return what failed a blocking check, of `select` and what it is made from, with the sentence of the check."""
    wanted = set(places(project, select))
    failed: dict[Place, str] = {}
    for stage, split in places(project):
        stops = [verdict for verdict in project.recorded_verdicts(stage, split) or () if verdict.stops]
        if stops and wanted & {(stage, split), *_downstream(project, {(stage, split)})}:
            failed[stage, split] = f"check {stops[0].check} of {artifact_name(stage, split)}: {stops[0].description}"
    return failed


def code_version(stage: Stage, config: Config) -> str:
    """Return by what the UI tells that an asset is not what would be built now: a hash of its version and settings.

    There is one for all splits, so that settings of the training split alone are left out.
    """
    return digest([stage.version, config.subset(*stage.branches(config, None))])[:_DIGITS]


def _downstream(project: Project, origins: Collection[Place]) -> set[Place]:
    reached: set[Place] = set()
    for stage, split in places(project):
        if any((edge.stage, edge.at(split)) in reached.union(origins) for edge in project.stages[stage].inputs):
            reached.add((stage, split))
    return reached


def _is_done(project: Project, instance: dg.DagsterInstance | None, stage: str, split: Split | None) -> bool:
    """Tell whether an artifact is complete, checked and, in the instance if one is given, recorded."""
    artifact = project.find(stage, split)
    if artifact is None or project.recorded_verdicts(stage, split) is None:
        return False
    if instance is None:
        return True
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(stage), asset_partitions=[split] if split else None), limit=1
    ).records
    made = records[0].asset_materialization if records else None
    expected = (artifact.content, code_version(project.stages[stage], project.config))
    tags = (made.tags or {}) if made else {}
    return (tags.get(_DATA_VERSION_TAG), tags.get(CODE_VERSION_TAG)) == expected
