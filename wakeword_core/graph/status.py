"""Where each artifact of a project stands: what would be built now, held against what there is, and why it differs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import Split
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Input, Stage
from wakeword_core.lineage.changes import Cause, code_cause, recording_changes, setting_causes
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.graph import Graph

if TYPE_CHECKING:
    import pandas as pd

Latest = Callable[[str, Split | None], Artifact | None]
"""The artifact of a stage and split that what would be built now is held against."""

_SHOWN = 3
_DESCRIBED = ("label", "role", "speaker")
"""What of a manifest's row counts for the shards, besides the recording itself."""


@dataclass(frozen=True)
class State:
    """Where one artifact stands: fresh (complete under the expected key), stale (an older one exists) or missing."""

    stage: str
    split: Split | None
    state: Literal["fresh", "stale", "missing"]
    because: str
    artifact: Artifact | None
    causes: tuple[Cause, ...] = ()

    @property
    def name(self) -> str:
        """`stage` or `stage[split]`."""
        return artifact_name(self.stage, self.split)

    @property
    def waits(self) -> str:
        """What is to be built first, where that is all; else empty."""
        return "" if self.own_causes or not self.causes else self.causes[0].name

    @property
    def own_causes(self) -> list[Cause]:
        """Causes but that something before it is to be built first."""
        return [cause for cause in self.causes if cause.kind != "waits"]


def status(project: Project) -> list[State]:
    """Each artifact of the graph in build order, against the newest one that was made for the same phrase."""
    return Comparison(project, newest_of_phrase(project)).states()


def newest_of_phrase(project: Project) -> Latest:
    """The newest artifact of a stage with nothing in it that was made for another phrase."""
    graph = Graph.of_store(project.store)
    phrases = {name: one.config["phrase"] for name, one in graph.artifacts.items() if "phrase" in one.config}
    newest: dict[tuple[str, str | None], Artifact] = {}
    for name, artifact in graph.artifacts.items():
        node = graph.nodes[name]
        behind = {phrases[one.id] for one in (node, *graph.upstream(node)) if one.id in phrases}
        if behind <= {project.config.phrase}:
            newest[node.stage, node.split] = artifact
    return lambda stage, split: newest.get((stage, split))


class Comparison:
    """What a project would build now, held against some earlier artifacts."""

    def __init__(self, project: Project, latest: Latest, *, exact: bool = False) -> None:
        """With `exact`, an artifact is fresh only where it is the very one that `latest` gives."""
        self._project = project
        self._latest = latest
        self._exact = exact
        self._listing = project.listing()
        self._now: dict[tuple[str, Split | None], Artifact | None] = {}
        self._roots: dict[tuple[str, Split | None], set[str]] = {}

    def states(self) -> list[State]:
        """Each artifact of the graph in build order."""
        return [self._state(stage, split) for stage in self._project.stages.values() for split in stage.splits]

    def _state(self, stage: Stage, split: Split | None) -> State:
        waits = self._waits(stage, split)
        found = None if waits else self._project.find(stage.name, split)
        self._now[stage.name, split] = found
        last = self._latest(stage.name, split)
        if found and not (self._exact and last and last.key != found.key):
            return State(stage.name, split, "fresh", "", found)
        if last is None:
            self._roots[stage.name, split] = waits or {artifact_name(stage.name, split)}
            return State(stage.name, split, "missing", "never built", None)
        causes = self._damage(stage, split) if not (waits or found) else []
        causes = causes or self._differences(stage, split, last)
        self._roots[stage.name, split] = {artifact_name(stage.name, split)} if causes else waits
        if waits:
            names = [name for name in self._project.names() if name in waits]
            causes.append(Cause("waits", f"waits for {', '.join(names)}", ", ".join(names)))
        return State(stage.name, split, "stale", _sentence(causes), last, tuple(causes))

    def _waits(self, stage: Stage, split: Split | None) -> set[str]:
        """Names of what must be built before it, and is not itself only waiting."""
        waits: set[str] = set()
        for one in self._project.deciding_inputs(stage):
            at = one.at(split)
            if one.stage in self._project.stages and self._now[one.stage, at] is None:
                waits |= self._roots[one.stage, at]
        return waits

    def _damage(self, stage: Stage, split: Split | None) -> list[Cause]:
        folder = self._project.store.root / stage.name / self._project.expected_key(stage.name, split)
        return [Cause("damaged", "its files are damaged")] if folder.exists() else []

    def _differences(self, stage: Stage, split: Split | None, last: Artifact) -> list[Cause]:
        causes: list[Cause] = []
        names = set()
        for one in self._project.deciding_inputs(stage):
            names.add(one.name(split))
            causes += self._input_difference(one, split, last)
        gone = sorted(last.inputs.keys() - names)
        causes += [Cause("input", f"{name} is no longer used", name) for name in gone]
        causes += setting_causes(last.config, stage.deciding_settings(self._project.config, split))
        return causes + code_cause(last.code_version, stage.version)

    def _input_difference(self, one: Input, split: Split | None, last: Artifact) -> list[Cause]:
        if one.stage in self._project.stages and self._now[one.stage, one.at(split)] is None:
            return []
        name, now = one.name(split), self._project.content_of(one, split)
        was = last.inputs.get(name)
        if now is None or (was and was["content"] == now["content"]):
            return []
        if was is None:
            return [Cause("input", f"{name} is new", name)]
        if one.stage == RAW_AUDIO:
            return [self._recordings_changed(last)]
        sentence = self._told_apart(one.stage, was["key"], now["key"], split if one.facet == "split" else None)
        return [Cause("input", f"{name} changed{sentence}", name, was["key"], now["key"])]

    def _recordings_changed(self, last: Artifact) -> Cause:
        """What there is now, held against the manifest, of the sources that are folders or tables of the user."""
        if last.damaged(read=False) or not _lists_recordings(last):
            return Cause("recordings", "recordings changed", RAW_AUDIO)
        old = _manifest_rows(last)
        configured = {source["name"] for source in last.config["data"]["sources"]}
        changes = recording_changes(old[old["source"].isin(configured)], self._listing.rows)
        what = str(changes) if changes.any else "what tables or missing sources say of the recordings changed"
        return Cause("recordings", what, RAW_AUDIO)

    def _told_apart(self, stage: str, old: str, new: str, split: Split | None) -> str:
        """In what two artifacts of an input's stage differ, in brackets; empty where that cannot be told."""
        before, after = (self._project.store.find(stage, key) for key in (old, new))
        if before is None or after is None:
            return ""
        if stage == MANIFEST and split and _lists_recordings(before) and _lists_recordings(after):
            changes = recording_changes(_manifest_rows(before, split), _manifest_rows(after, split), _DESCRIBED)
            return f" ({changes})" if changes.any else ""
        causes = [
            *setting_causes(before.config, after.config),
            *code_cause(before.code_version, after.code_version),
        ]
        return f" ({_sentence(causes)})" if causes else ""


def _sentence(causes: Iterable[Cause]) -> str:
    told = [cause.sentence for cause in causes]
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more


def _lists_recordings(manifest: Artifact) -> bool:
    from wakeword_core.recordings.manifest import MANIFEST_FILE as FILE

    return FILE in manifest.files


def _manifest_rows(manifest: Artifact, split: Split | None = None) -> "pd.DataFrame":
    from wakeword_core.recordings.manifest import read_manifest

    columns: dict[str, Any] = {"columns": ("source", "path", "id", "split", "status", *_DESCRIBED)}
    return read_manifest(manifest.path, split, usable=split is not None, **columns)
