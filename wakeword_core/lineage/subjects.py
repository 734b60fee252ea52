"""What a person may ask about: an artifact, a model file or a recording, by path, key or name."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from wakeword_core.errors import ArtifactError
from wakeword_core.files import hash_file
from wakeword_core.lineage.model_file import ModelFile, read_model_file
from wakeword_core.lineage.recordings import ManifestMatch, find_recordings, used_in
from wakeword_core.runtime import WakewordModel
from wakeword_core.store.artifacts import CARD, ArtifactStore
from wakeword_core.store.graph import Graph, Node

_KEY = re.compile(r"[0-9a-f]{4,64}")
_SHOWN = 5


@dataclass(frozen=True)
class Subject:
    """The artifact, model or recording that a person asked about, and the graph that it is part of."""

    graph: Graph
    node: Node | None
    """The artifact; None for a recording."""
    model: ModelFile | None = None
    recording: tuple[ManifestMatch, ...] = field(default=())
    """The recording in each manifest that lists it, oldest first."""

    @property
    def starts(self) -> list[Node]:
        """Return the nodes that everything else was made from: the artifact, or the shards that hold the recording."""
        return [self.node] if self.node else used_in(self.graph, self.recording)


def find_subject(wanted: str, store: ArtifactStore) -> Subject:
    """Find the artifact, model file or recording that `wanted` names; ArtifactError when it is none or several.

    A path to a model, an artifact's folder or a recording; `stage`, `stage[split]` (the newest one) or `stage/key`; a
    key, a recording's id, or the beginning of one; a recording's path as its manifest has it.
    """
    graph = Graph.of_store(store)
    path = Path(wanted)
    if path.suffix == ".onnx" or (path.is_dir() and any((path / name).is_file() for name in WakewordModel.names)):
        return _model(read_model_file(path), graph)
    # synthetic speech lies in an artifact's folder, and is a recording all the same
    if path.is_file() and (listed := find_recordings(graph, store.root, hash_file(path))):
        return _recording(wanted, listed, graph)
    if artifact := artifact_around(path, graph):
        return Subject(graph, artifact)
    if artifact := named(wanted, graph):
        return Subject(graph, artifact)
    if listed := find_recordings(graph, store.root, wanted):
        return _recording(wanted, listed, graph)
    raise ArtifactError(
        f"{wanted!r} is no artifact, model file or recording that {store.root} knows; give a path, a key, a "
        "recording's id or the --home that it belongs to"
    )


def _model(file: ModelFile, known: Graph) -> Subject:
    nodes = file.nodes()
    graph = Graph([*nodes, *known.nodes.values()])
    owner = next((name for name, artifact in known.artifacts.items() if artifact.holds(file.sha256)), nodes[0].id)
    return Subject(graph, graph.nodes[owner], file)


def artifact_around(path: Path, graph: Graph) -> Node | None:
    """Find the artifact that `path` is the folder of, or a file in it."""
    whole = path.resolve()
    folder = next((folder for folder in (whole, *whole.parents) if (folder / CARD).is_file()), None)
    return graph.nodes.get((folder.parent.name, folder.name)) if folder and path.exists() else None


def named(wanted: str, graph: Graph) -> Node | None:
    """Find the artifact of a name (the newest one), of a key, or of the beginning of one; ArtifactError if several."""
    nodes = sorted(graph.nodes.values(), key=lambda node: node.created)
    if by_name := [node for node in nodes if node.name == wanted]:
        return by_name[-1]
    stage, _, key = wanted.rpartition("/")
    if not _KEY.fullmatch(key):
        return None
    matches = [node for node in nodes if node.key.startswith(key) and stage in ("", node.stage, node.name)]
    if len(matches) > 1:
        raise ArtifactError(f"{wanted} begins the keys of {_listed([f'{node.name}/{node.key}' for node in matches])}")
    return matches[0] if matches else None


def _recording(wanted: str, matches: list[ManifestMatch], graph: Graph) -> Subject:
    """Choose the one recording among rows of manifests: the newest bytes where those of a path changed."""
    places = sorted({f"{match.row['source']}/{match.row['path']}" for match in matches})
    if len(places) > 1 and len({match.row["recording_id"] for match in matches}) > 1:
        raise ArtifactError(f"{wanted!r} may be {_listed(places)}; give more of its path")
    newest = matches[-1].row["recording_id"]
    return Subject(graph, None, recording=tuple(match for match in matches if match.row["recording_id"] == newest))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
