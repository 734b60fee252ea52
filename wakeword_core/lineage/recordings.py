"""Which recordings an artifact was made from, and which artifacts a recording went into."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config import SPLITS
from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.licences import NOT_STATED, commercial_use
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO, SHARDS
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.graph import Graph, Node, NodeId

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "id", "path", "source", "licence", "label", "role", "speaker", "speaker_known", "seconds", "status", "split",
)  # fmt: skip
"""What is told of a recording."""
_SECONDS_AN_HOUR = 3_600
_LEAST_OF_AN_ID = 6


def is_recordings(node: Node) -> bool:
    """Whether the node is the recordings themselves instead of something made from them."""
    return node.stage == RAW_AUDIO


@dataclass(frozen=True)
class Counts:
    """How many recordings, how long, and by whom."""

    recordings: int
    hours: float
    speakers: int
    """Of those that are known."""
    unknown_speakers: int
    """Recordings whose speaker is unknown."""
    splits: dict[str, int]


@dataclass(frozen=True)
class SourceCounts:
    """The recordings of one source under one licence."""

    source: str
    licence: str
    commercial_use: str
    counts: Counts


def recordings_behind(graph: Graph, node: Node, store: Path) -> "pd.DataFrame":
    """The usable recordings that `node` was made from, with `COLUMNS`: of each split that reached it, all of them.

    A manifest itself stands for all its recordings, the unusable ones too. Empty for what comes before the manifest.
    ArtifactError when a manifest that is needed is gone from `store`.
    """
    import pandas as pd

    if node.stage == MANIFEST:
        return _rows(node, store)
    wanted: dict[NodeId, tuple[Node, set[str]]] = {}
    for shards in (one for one in (node, *graph.upstream(node)) if one.stage == SHARDS and one.split):
        manifest = _newest_manifest(graph, shards)
        wanted.setdefault(manifest.id, (manifest, set()))[1].add(str(shards.split))
    parts = []
    for manifest, splits in sorted(wanted.values(), key=lambda one: one[0].created, reverse=True):
        rows = _rows(manifest, store)
        parts.append(rows[rows["split"].isin(splits) & (rows["status"] == "ok")])
    if not parts:
        return pd.DataFrame({name: pd.Series([], dtype="object") for name in COLUMNS})
    # what the newest manifest states of a recording counts: older ones may lack its licence
    return pd.concat(parts, ignore_index=True).drop_duplicates("id", ignore_index=True)


def count(rows: "pd.DataFrame") -> Counts:
    """The figures of recordings as `recordings_behind` returns them."""
    known = rows["speaker_known"].astype(bool)
    splits = rows["split"].value_counts()
    return Counts(
        recordings=len(rows),
        hours=round(float(rows["seconds"].sum()) / _SECONDS_AN_HOUR, 4),
        speakers=int(rows.loc[known, "speaker"].nunique()),
        unknown_speakers=int((~known).sum()),
        splits={split: int(splits[split]) for split in SPLITS if split in splits},
    )


def count_by_source(rows: "pd.DataFrame") -> list[SourceCounts]:
    """The same for each source and licence, sorted by name."""
    licences = rows["licence"].where(rows["licence"] != "", NOT_STATED)
    groups = rows.groupby([rows["source"], licences])
    return [
        SourceCounts(str(source), str(licence), commercial_use(str(licence)), count(group))
        for (source, licence), group in groups
    ]


@dataclass(frozen=True)
class Found:
    """A row of a manifest that is the recording that was looked for."""

    manifest: Node
    row: dict[str, Any]


def find_recordings(graph: Graph, store: Path, wanted: str) -> list[Found]:
    """Rows, of every manifest on disk, oldest first, whose id begins with `wanted` or whose path is or ends with it.

    Less than `_LEAST_OF_AN_ID` characters are no beginning of an id.
    """
    ending = wanted.removeprefix("./")
    beginning = wanted if len(wanted) >= _LEAST_OF_AN_ID else " "
    found = []
    for manifest in _manifests(graph, store):
        rows = _rows(manifest, store)
        places = rows["source"] + "/" + rows["path"]
        chosen = rows["id"].str.startswith(beginning) | (places == ending) | places.str.endswith(f"/{ending}")
        found += [Found(manifest, row) for row in rows[chosen].to_dict("records")]
    return found


def manifest_behind(store: ArtifactStore, key: str) -> Artifact | None:
    """The newest manifest that the artifact of that key, of whatever stage, was made from; None when it is gone."""
    graph = Graph.of_store(store)
    starts = [node for node in graph.nodes.values() if node.key == key]
    behind = [node.artifact for node in (*starts, *graph.upstream(*starts)) if node.artifact and node.stage == MANIFEST]
    return max(behind, key=lambda artifact: artifact.created, default=None)


def used_in(graph: Graph, found: Iterable[Found]) -> list[Node]:
    """Shards that hold the recording, in every version of its split, oldest first; none where it is quarantined."""
    shards: dict[NodeId, Node] = {}
    for one in found:
        if one.row["status"] == "ok":
            for node in graph.consumers(one.manifest):
                if node.stage == SHARDS and node.split == one.row["split"]:
                    shards[node.id] = node
    return sorted(shards.values(), key=lambda node: node.created)


def _newest_manifest(graph: Graph, shards: Node) -> Node:
    """The newest manifest with the same recordings in the shards' split: what is stated of them now."""
    edge = next((edge for edge in shards.inputs if edge.stage == MANIFEST), None)
    if edge is None:
        raise ArtifactError(f"{shards.name} {shards.key} names no manifest; build it again")
    same = [one for one in graph.nodes.values() if one.stage == MANIFEST and edge.content in one.contents]
    recorded = next(one for one in graph.inputs(shards) if one.stage == MANIFEST)
    return max(same, key=lambda one: one.created, default=recorded)


def _manifests(graph: Graph, store: Path) -> list[Node]:
    found = [one for one in graph.nodes.values() if one.stage == MANIFEST and (store / MANIFEST / one.key).is_dir()]
    return sorted(found, key=lambda one: one.created)


def _rows(manifest: Node, store: Path) -> "pd.DataFrame":
    from wakeword_core.recordings.manifest import read_manifest

    folder = store / MANIFEST / manifest.key
    if not folder.is_dir():
        raise ArtifactError(
            f"the manifest {manifest.key}, which lists the recordings, is not in {store}; give the --home that made it"
        )
    return read_manifest(folder, usable=False, columns=COLUMNS)
