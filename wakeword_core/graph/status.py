"""Where each artifact of a project stands: what would be built now, compared with what there is, and why it differs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import Split
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Input, Stage
from wakeword_core.lineage.changes import Cause, code_cause, recording_changes, setting_causes
from wakeword_core.lineage.given import inputs_of
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.graph import Graph

if TYPE_CHECKING:
    import pandas as pd

Latest = Callable[[str, Split | None], Artifact | None]
"""The artifact of a stage and split that what would be built now is compared with."""

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
        """Return `stage` or `stage[split]`."""
        return artifact_name(self.stage, self.split)

    @property
    def waits(self) -> str:
        """Name what is to be built first, where that is all that makes it stale; else return an empty text."""
        return "" if self.own_causes or not self.causes else self.causes[0].name

    @property
    def own_causes(self) -> list[Cause]:
        """Return the causes that lie in the artifact itself, not in something before it."""
        return [cause for cause in self.causes if cause.kind != "waits"]


def status(project: Project) -> list[State]:
    """Compare each artifact of the graph, in build order, with the newest one that was made for the same phrase."""
    return Comparison(project, _newest_of_phrase(project)).states()


def _newest_of_phrase(project: Project) -> Latest:
    """Find the newest artifact of a stage with nothing in it that was made for another phrase."""
    graph = Graph.of_store(project.store)
    phrases = {
        node_id: str(artifact.config["phrase"])
        for node_id, artifact in graph.artifacts.items()
        if "phrase" in artifact.config
    }
    newest: dict[tuple[str, str | None], Artifact] = {}
    for node_id, artifact in graph.artifacts.items():
        node = graph.nodes[node_id]
        behind = {phrases[member.id] for member in (node, *graph.own_upstream(node)) if member.id in phrases}
        if behind <= {project.config.phrase}:
            newest[node.stage, node.split] = artifact
    return lambda stage, split: newest.get((stage, split))


class Comparison:
    """Compares what a project would build now with some earlier artifacts.

    With `exact`, an artifact is fresh only where it is the very one that `latest` gives.
    """

    def __init__(self, project: Project, latest: Latest, *, exact: bool = False) -> None:
        self._project = project
        self._latest = latest
        self._exact = exact
        self._listing = project.listing()
        self._now: dict[tuple[str, Split | None], Artifact | None] = {}
        self._roots: dict[tuple[str, Split | None], set[str]] = {}

    def states(self) -> list[State]:
        """Return where each artifact of the graph stands, in build order."""
        return [self._state(stage, split) for stage in self._project.stages.values() for split in stage.splits]

    def _state(self, stage: Stage, split: Split | None) -> State:
        waits = self._waits(stage, split)
        present = None if waits else self._project.find(stage.name, split)
        self._now[stage.name, split] = present
        last = self._latest(stage.name, split)
        if present and not (self._exact and last and last.key != present.key):
            return State(stage.name, split, "fresh", "", present)
        if last is None:
            self._roots[stage.name, split] = waits or {artifact_name(stage.name, split)}
            return State(stage.name, split, "missing", "never built", None)
        causes = self._damage(stage, split) if not (waits or present) else []
        causes = causes or self._differences(stage, split, last)
        self._roots[stage.name, split] = {artifact_name(stage.name, split)} if causes else waits
        if waits:
            names = ", ".join(name for place in self._now if (name := artifact_name(*place)) in waits)
            causes.append(Cause("waits", f"waits for {names}", names))
        return State(stage.name, split, "stale", _sentence(causes), last, tuple(causes))

    def _waits(self, stage: Stage, split: Split | None) -> set[str]:
        """Name what must be built first, without what itself only waits."""
        waits: set[str] = set()
        for source in self._project.deciding_inputs(stage):
            if self._is_unbuilt(source, split):
                waits |= self._roots[source.stage, source.at(split)]
        return waits

    def _is_unbuilt(self, source: Input, split: Split | None) -> bool:
        return source.stage in self._project.stages and self._now[source.stage, source.at(split)] is None

    def _damage(self, stage: Stage, split: Split | None) -> list[Cause]:
        folder = self._project.store.root / stage.name / self._project.expected_key(stage.name, split)
        return [Cause("damaged", "its files are damaged")] if folder.exists() else []

    def _differences(self, stage: Stage, split: Split | None, last: Artifact) -> list[Cause]:
        sources = self._project.deciding_inputs(stage)
        causes = [cause for source in sources for cause in self._input_difference(source, split, last)]
        given = inputs_of(self._project.models.given_to(stage))
        for name, now in given.items():
            if name not in last.inputs:
                causes.append(Cause("input", f"{name} is new", name))
            elif last.inputs[name]["content"] != now["content"]:
                causes.append(Cause("input", f"{name} changed", name, last.inputs[name]["key"], now["key"]))
        gone = sorted(last.inputs.keys() - {source.name(split) for source in sources} - given.keys())
        causes += [Cause("input", f"{name} is no longer used", name) for name in gone]
        causes += setting_causes(last.config, stage.deciding_settings(self._project.models.config_of(stage), split))
        return causes + code_cause(last.code_version, stage.version)

    def _input_difference(self, source: Input, split: Split | None, last: Artifact) -> list[Cause]:
        if self._is_unbuilt(source, split):
            return []
        name, now = source.name(split), self._project.content_of(source, split)
        was = last.inputs.get(name)
        if now is None or (was and was["content"] == now["content"]):
            return []
        if was is None:
            return [Cause("input", f"{name} is new", name)]
        if source.stage == RAW_AUDIO:
            return [self._recordings_changed(last)]
        sentence = self._difference(source.stage, was["key"], now["key"], split if source.facet == "split" else None)
        return [Cause("input", f"{name} changed{sentence}", name, was["key"], now["key"])]

    def _recordings_changed(self, last: Artifact) -> Cause:
        if last.damaged(read=False) or not self._lists_recordings(last):
            return Cause("recordings", "recordings changed", RAW_AUDIO)
        old = _manifest_rows(last)
        try:
            configured = {str(source["name"]) for source in last.config["data"]["sources"]}
        except (LookupError, TypeError):  # its card is of other hands
            return Cause("recordings", "recordings changed", RAW_AUDIO)
        changes = recording_changes(old[old["source"].isin(configured)], self._listing.rows)
        what = str(changes) if changes.any else "what tables or missing sources say of the recordings changed"
        return Cause("recordings", what, RAW_AUDIO)

    def _difference(self, stage: str, old: str, new: str, split: Split | None) -> str:
        """Say in brackets how two artifacts of an input's stage differ; nothing where that cannot be told."""
        before, after = (self._project.store.find(stage, key) for key in (old, new))
        if before is None or after is None:
            return ""
        if stage == MANIFEST and split and self._lists_recordings(before) and self._lists_recordings(after):
            changes = recording_changes(_manifest_rows(before, split), _manifest_rows(after, split), _DESCRIBED)
            return f" ({changes})" if changes.any else ""
        causes = setting_causes(before.config, after.config) + code_cause(before.code_version, after.code_version)
        return f" ({_sentence(causes)})" if causes else ""

    def _lists_recordings(self, manifest: Artifact) -> bool:
        from wakeword_core.recordings.manifest import MANIFEST_FILE

        return MANIFEST_FILE in manifest.files and manifest.code_version == self._project.stages[MANIFEST].version


def _sentence(causes: Iterable[Cause]) -> str:
    sentences = [cause.sentence for cause in causes]
    more = f"; and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return "; ".join(sentences[:_SHOWN]) + more


def _manifest_rows(manifest: Artifact, split: Split | None = None) -> "pd.DataFrame":
    from wakeword_core.recordings.manifest import read_manifest

    columns: dict[str, Any] = {"columns": ("source", "path", "recording_id", "split", "status", *_DESCRIBED)}
    return read_manifest(manifest.path, split, usable=split is not None, **columns)
