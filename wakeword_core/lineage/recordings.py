"""Which recordings an artifact was made from and under which licences, and which artifacts a recording went into."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import SPLITS
from wakeword_core.errors import ArtifactError
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO, SHARDS
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.graph import Graph, Node, NodeId

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "recording_id", "path", "source", "licence", "label", "role", "speaker", "speaker_known", "seconds", "rms_dbfs",
    "status", "split", "reason",
)  # fmt: skip
"""Columns of the manifest that are read."""
LEARNT_FROM = ("train", "val")
"""Splits that shape a model: its weights, and its calibration and thresholds."""
_SECONDS_AN_HOUR = 3_600
_MIN_ID_LENGTH = 6

Permission = Literal["allowed", "not allowed", "unclear"]

NOT_STATED = "not stated"
"""How a recording without a licence is listed."""

_NON_COMMERCIAL = re.compile(r"\bNC\b|non.?commercial|research.?only|academic", re.IGNORECASE)
# SPDX names begin so; what is made from text here is named "synthetic" by its source
_OPEN = re.compile(
    r"(CC0|CC.?BY|PDDL|ODC.?BY|ODbL|CDLA|Apache|MIT|BSD|ISC|MPL|L?GPL|AGPL|Unlicense|0BSD|synthetic)\b"
    r"|.*public.?domain",
    re.IGNORECASE,
)
_CREDIT = re.compile(r"(CC.?BY|ODC.?BY|ODbL|Apache|MIT|BSD|ISC)\b", re.IGNORECASE)


def commercial_use(licence: str) -> Permission:
    """Return whether recordings under `licence` may be used commercially, by its name; this is no legal advice."""
    if _NON_COMMERCIAL.search(licence):
        return "not allowed"
    return "allowed" if _OPEN.match(licence) else "unclear"


def wants_credit(licence: str) -> bool:
    """Return whether `licence` asks that its authors be named."""
    return bool(_CREDIT.match(licence))


def mix_of(licences: set[str]) -> Permission:
    """Return what all of the licences allow together: the least of them; unclear when there are none."""
    permissions = {commercial_use(licence) for licence in licences}
    if "not allowed" in permissions:
        return "not allowed"
    return "allowed" if permissions == {"allowed"} else "unclear"


def is_recordings(node: Node) -> bool:
    """Return whether the node is the recordings themselves instead of something made from them."""
    return node.stage == RAW_AUDIO


@dataclass(frozen=True)
class Counts:
    """How many recordings, how long, by how many known speakers, and how many whose speaker is unknown."""

    recordings: int
    hours: float
    speakers: int
    unknown_speakers: int
    splits: dict[str, int]


@dataclass(frozen=True)
class SourceCounts:
    """The recordings of one source under one licence."""

    source: str
    licence: str
    commercial_use: str
    counts: Counts


def recordings_behind(graph: Graph, node: Node, store: Path) -> "pd.DataFrame":
    """Return the usable recordings that `node` was made from, with `COLUMNS`: all of each split that reached it.

    A manifest itself stands for all its recordings, the unusable ones too. Empty for what comes before the manifest.
    ArtifactError when a manifest that is needed is gone from `store`.
    """
    import pandas as pd

    if node.stage == MANIFEST:
        return _rows(node, store)
    wanted: dict[NodeId, tuple[Node, set[str]]] = {}
    for shards in (behind for behind in (node, *graph.upstream(node)) if behind.stage == SHARDS and behind.split):
        manifest = _newest_manifest(graph, shards)
        wanted.setdefault(manifest.id, (manifest, set()))[1].add(str(shards.split))
    parts = []
    for manifest, splits in sorted(wanted.values(), key=lambda pair: pair[0].created, reverse=True):
        rows = _rows(manifest, store)
        parts.append(rows[rows["split"].isin(splits) & (rows["status"] == "ok")])
    if not parts:
        return pd.DataFrame({name: pd.Series([], dtype="object") for name in COLUMNS})
    # what the newest manifest states of a recording counts: older ones may lack its licence
    return pd.concat(parts, ignore_index=True).drop_duplicates("recording_id", ignore_index=True)


def count(rows: "pd.DataFrame") -> Counts:
    """Count recordings as `recordings_behind` returns them."""
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
    """Count the recordings of each source and licence, sorted by name."""
    licences = rows["licence"].where(rows["licence"] != "", NOT_STATED)
    groups = rows.groupby([rows["source"], licences])
    return [
        SourceCounts(str(source), str(licence), commercial_use(str(licence)), count(group))
        for (source, licence), group in groups
    ]


@dataclass(frozen=True)
class ManifestMatch:
    """A row of a manifest that is the recording that was looked for."""

    manifest: Node
    row: dict[str, Any]


def find_recordings(graph: Graph, store: Path, wanted: str) -> list[ManifestMatch]:
    """Find rows, of every manifest on disk, oldest first, whose recording_id begins or whose path ends with `wanted`.

    Less than `_MIN_ID_LENGTH` characters are no beginning of a recording_id.
    """
    from wakeword_core.recordings.manifest import readable_manifests

    ending = wanted.removeprefix("./")
    beginning = wanted if len(wanted) >= _MIN_ID_LENGTH else " "
    matches: list[ManifestMatch] = []
    manifests = [node for node in graph.nodes.values() if node.stage == MANIFEST and _folder(node, store).is_dir()]
    tables = readable_manifests([_folder(node, store) for node in manifests], COLUMNS)
    for manifest in sorted(manifests, key=lambda node: node.created):
        if (rows := tables.get(_folder(manifest, store))) is None:
            continue
        places = rows["source"] + "/" + rows["path"]
        chosen = rows["recording_id"].str.startswith(beginning) | (places == ending) | places.str.endswith(f"/{ending}")
        matches += [ManifestMatch(manifest, row) for row in rows[chosen].to_dict("records")]
    return matches


def manifest_behind(store: ArtifactStore, key: str) -> Artifact | None:
    """Find the newest manifest that the artifact of that key, of any stage, was made from; None when it is gone."""
    graph = Graph.of_store(store)
    starts = [node for node in graph.nodes.values() if node.key == key]
    behind = [node.artifact for node in (*starts, *graph.upstream(*starts)) if node.artifact and node.stage == MANIFEST]
    return max(behind, key=lambda artifact: artifact.created, default=None)


def used_in(graph: Graph, matches: Iterable[ManifestMatch]) -> list[Node]:
    """Find the shards that hold the recording, in every version of its split, oldest first; none if quarantined."""
    shards: dict[NodeId, Node] = {}
    for match in matches:
        if match.row["status"] == "ok":
            for node in graph.consumers(match.manifest):
                if node.stage == SHARDS and node.split == match.row["split"]:
                    shards[node.id] = node
    return sorted(shards.values(), key=lambda node: node.created)


def _newest_manifest(graph: Graph, shards: Node) -> Node:
    """Find the newest manifest with the same recordings in the shards' split: it has what is known of them now."""
    edge = next((edge for edge in shards.inputs if edge.stage == MANIFEST), None)
    if edge is None:
        raise ArtifactError(f"{shards.name} {shards.key} names no manifest; build it again")
    same = [node for node in graph.nodes.values() if node.stage == MANIFEST and edge.content in node.contents]
    recorded = next(node for node in graph.inputs(shards) if node.stage == MANIFEST)
    return max(same, key=lambda node: node.created, default=recorded)


def _folder(manifest: Node, store: Path) -> Path:
    return store / MANIFEST / manifest.key


def _rows(manifest: Node, store: Path) -> "pd.DataFrame":
    from wakeword_core.recordings.manifest import read_manifest

    folder = _folder(manifest, store)
    if not folder.is_dir():
        raise ArtifactError(
            f"the manifest {manifest.key}, which lists the recordings, is not in {store}; give the --home that made it"
        )
    return read_manifest(folder, usable=False, columns=COLUMNS)
