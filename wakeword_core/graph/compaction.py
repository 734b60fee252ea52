"""Writing shards and features anew, so that nothing is left of rows that do not count: key and content stay."""

from collections.abc import Collection

from wakeword_core.config import SPLITS
from wakeword_core.errors import ArtifactError
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import held_recording_ids
from wakeword_core.stage_names import FEATURES, SHARDS
from wakeword_core.store.artifacts import Artifact, artifact_name


def compact(project: Project, recording_ids: Collection[str] | None = None) -> list[str]:
    """Write the present shards and features anew that have rows that do not count or lie scattered; return which.

    With `recording_ids`, only those that hold any of these are. The caller keeps others from the store meanwhile
    (`ArtifactStore.undisturbed`). A kill leaves each of them as it was or as it is to be.
    """
    as_first_built = Project(project.config.changed({"shards.compact_above": 0.0}), project.home, project.progress)
    compacted = []
    for split in SPLITS:
        shards, features = (as_first_built.find(stage, split) for stage in (SHARDS, FEATURES))
        if shards and _is_to_be_compacted(shards, recording_ids):
            shards = as_first_built.rebuild(SHARDS, split)
            compacted.append(shards)
        # the parts of features go with the shards, whose rows they are made from
        if shards and features and (shards in compacted or _is_to_be_compacted(features, recording_ids)):
            compacted.append(as_first_built.rebuild(FEATURES, split))
    return [artifact_name(artifact.stage, artifact.config["split"]) for artifact in compacted]


def _is_to_be_compacted(artifact: Artifact, recording_ids: Collection[str] | None) -> bool:
    if recording_ids is None:
        return bool(artifact.figures.get("dead") or artifact.figures.get("scattered"))
    try:
        held = (held_recording_ids(artifact.file(name)) or set() for name in artifact.files)
        return not all(one.isdisjoint(recording_ids) for one in held)
    except ArtifactError:
        return False  # what cannot be read is listed, and deleted
