"""What was made from some recordings, and the files that hold any of them."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from wakeword_core.errors import ArtifactError
from wakeword_core.files import file_identity, hash_file, reading
from wakeword_core.lineage.given import OUTSIDE
from wakeword_core.stage_names import FEATURES, MANIFEST, RAW_AUDIO, SHARDS, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.cleaning import Item, artifact_item, leftovers, shown_key, unshared_pieces
from wakeword_core.store.graph import Graph, Node, NodeId
from wakeword_core.store.parts import FileEntry
from wakeword_core.store.remote import Remote, RemoteItem

_PARQUET, _HDF5 = b"PAR1", b"\x89HDF"
"""How files that hold recordings begin, whatever they are called."""
_ID, _FROM_ID, _FEATURE_IDS = "recording_id", "from_recording_id", "recording_ids"
"""Columns that name recordings: of tables and shards, of tables of mined clips, and of features."""
_BY_CONTENT = (MANIFEST, SHARDS)
"""Stages whose files list the recordings that they hold; all others hold what their inputs do."""
_SOURCES = (RAW_AUDIO, "synthetic_speech", MANIFEST)
"""Inputs that may be gone: what is in an artifact is known without them."""
_UNREADABLE = "it cannot be read: it may hold it"
_MOST_ROWS = 100_000_000
"""Of a table; what says that it has more, in a few kB, is made to fill the memory."""


class _NamesNoneError(ArtifactError):
    """A file of the right format that names no recordings as this version does."""


@dataclass(frozen=True)
class Search:
    """How many files a search looked through, which of them hold a recording, and which cannot be read."""

    files: int
    holders: list[Path]
    unreadable: list[Path]


def search(root: Path, recording_ids: Collection[str], store: Path | None = None) -> Search:
    """Look for recordings, and clips that were mined from them, in all files below `root` that hold any.

    Files are recognised by their content: reusable pieces, unfinished builds and what was set aside count too. Outside
    of a `store` that is given, tables that name no recordings are not ours.
    """
    wanted = set(recording_ids) | clips_of(root, recording_ids)
    files, holders, unreadable = 0, [], []
    for path in _distinct_files(root):
        try:
            in_file = held_recording_ids(path)
        except _NamesNoneError:
            if store is None or path.is_relative_to(store):
                unreadable.append(path)
            continue
        except ArtifactError:
            unreadable.append(path)
            continue
        files += in_file is not None
        if in_file is not None and not wanted.isdisjoint(in_file):
            holders.append(path)
    return Search(files, holders, unreadable)


def clips_of(root: Path, recording_ids: Collection[str]) -> set[str]:
    """Return the clips that were mined from some recordings, by any table below `root`."""
    clips: set[str] = set()
    for path in _distinct_files(root):
        try:
            columns = _table_columns(path, (_ID, _FROM_ID)) if _begins(path) == _PARQUET else []
        except ArtifactError:
            continue  # the search itself says so
        if len(columns) == 2:
            clips |= {clip for clip, recording_id in zip(*columns, strict=True) if recording_id in recording_ids}
    return clips


def held_recording_ids(path: Path) -> set[str] | None:
    """Return the recordings that a file holds or names; None when it is no such file.

    ArtifactError when it is damaged, or does not name its recordings as this version does.
    """
    kind = _begins(path)
    if kind == _PARQUET:
        return set().union(*_table_columns(path, (_ID, _FROM_ID)))
    return _feature_ids(path) if kind == _HDF5 else None


def _distinct_files(root: Path) -> Iterator[Path]:
    """Yield every ordinary file below a folder in order, by one of its names."""
    seen: set[tuple[int, int]] = set()
    for path in _files(root):
        if (identity := file_identity(path)) not in seen:
            seen.add(identity)
            yield path


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in sorted(os.walk(root)):
        for path in (Path(folder, name) for name in sorted(names)):
            if path.is_file() and not path.is_symlink():
                yield path


def _begins(path: Path) -> bytes:
    with reading(path, "make it readable, or delete it"), path.open("rb") as file:
        return file.read(len(_PARQUET))


def _table_columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """Read those of the named columns that a Parquet file has; ArtifactError if it has not even the first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, "delete it"), pq.ParquetFile(path) as file:
        present = [name for name in names if name in file.schema_arrow.names]
        if names[0] not in present:
            raise _NamesNoneError(f"{path} is of another version of wakeword: it lacks {names[0]}; delete it")
        if file.metadata.num_rows > _MOST_ROWS:
            raise ValueError(f"it says that it has {file.metadata.num_rows:,} rows")
        columns: list[list[str]] = [[] for _ in present]
        for batch in file.iter_batches(columns=present):
            for values, column in zip(columns, batch.columns, strict=True):
                values += column.cast(pa.string()).to_pylist()
    return columns


def _feature_ids(path: Path) -> set[str] | None:
    import h5py

    from wakeword_core.features.store import own_dataset

    with reading(path, "delete it"), h5py.File(path) as file:
        if file.get(_FEATURE_IDS, getlink=True) is None:
            raise _NamesNoneError(f"{path} is of another version of wakeword: it lacks {_FEATURE_IDS}; delete it")
        dataset = own_dataset(file, _FEATURE_IDS, path)
        # a view holds nothing of its own: its parts are files too
        return None if dataset.is_virtual else {name.decode() for name in dataset[:]}


def traces(store: ArtifactStore, items: Iterable[Item]) -> set[FileEntry]:
    """Return the files of the artifacts among some items that no other artifact has: whatever has such bytes holds it.

    Of empty files nothing can be told.
    """
    folders = {path for item in items for path in item.paths}
    inside, outside = set[FileEntry](), set[FileEntry]()
    for artifact in store.cards():
        (inside if artifact.path in folders else outside).update(artifact.files.values())
    return {entry for entry in inside - outside if entry.size}


def copies(home: Path, wanted: Collection[FileEntry]) -> list[Path]:
    """Find every file below a home, whatever its name and place, that has the size and the bytes of a wanted one."""
    sizes = {entry.size for entry in wanted}
    paths, hashes = [], dict[tuple[int, int], str]()
    for path in _files(home):
        size = path.lstat().st_size
        if size in sizes:
            identity = file_identity(path)
            if identity not in hashes:
                hashes[identity] = hash_file(path)
            if FileEntry(size, hashes[identity]) in wanted:
                paths.append(path)
    return paths


def affected(store: ArtifactStore, recording_ids: Collection[str]) -> list[Item]:
    """List everything in a store that holds any of the recordings or was made from them, the oldest artifacts first.

    A recording that others were mixed with is in all that they are in: a split's shards are looked into, and what is
    made from those that hold it counts as a whole. What cannot be traced back because an input is gone counts too, and
    so do unfinished builds and pieces that no other artifact shares: what they hold is not written down.
    """
    graph = Graph.of_store(store)
    because, artifacts = _because(graph, lambda artifact: _holds(artifact, recording_ids)), graph.artifacts
    return [
        *(artifact_item(artifact, because[name]) for name, artifact in artifacts.items() if name in because),
        *leftovers(store, graph),
        *unshared_pieces(store, (artifact for name, artifact in artifacts.items() if name not in because)),
    ]


def affected_on_remote(
    remote: Remote, store: ArtifactStore, recording_ids: Collection[str], traces: Collection[FileEntry]
) -> list[RemoteItem]:
    """List everything on a remote that holds any of the recordings or was made from them, as `affected` does here.

    Manifests and shards that the store lacks are fetched to be looked into. What has a file of the store's affected
    artifacts, which are their `traces`, counts too. So do shards and features that lie in other files here, with the
    same content, where those of the remote hold the recordings without counting them; what was made from them stays.
    """
    shared = remote.artifacts(store.root)
    graph = Graph(Node.of_artifact(artifact) for artifact in (*store.cards(), *(one.artifact for one in shared)))

    def same_here(artifact: Artifact) -> Artifact | None:
        here = store.find(artifact.stage, artifact.key)
        return here if here and here.content == artifact.content else None

    def holds_there(artifact: Artifact) -> str:
        with TemporaryDirectory(dir=store.root, prefix=".looked-into-") as folder:
            path = Path(folder, artifact.stage, "fetched")
            path.parent.mkdir()
            try:
                remote.fetch(artifact.stage, artifact.key, path, store.files_by_hash)
            except ArtifactError:
                return _UNREADABLE
            return _holds(replace(artifact, path=path), recording_ids)

    def why(artifact: Artifact) -> str:
        here = same_here(artifact)
        return _holds(here, recording_ids) if here else holds_there(artifact)

    because = _because(graph, why)
    for one in (one.artifact for one in shared):
        here = same_here(one) if one.stage in (SHARDS, FEATURES) else None
        if not set(traces).isdisjoint(one.files.values()):
            because.setdefault((one.stage, one.key), "has a file of what is listed here")
        elif here and here.sums != one.sums and (found := holds_there(one)):
            because.setdefault((one.stage, one.key), found)
    return remote.items(shared, because, {entry.sha256 for entry in traces})


def _because(graph: Graph, holds: Callable[[Artifact], str]) -> dict[NodeId, str]:
    """Say of each artifact that holds what is looked for, or was made from such a one, why it counts.

    `holds` says it of an artifact that lists its recordings; empty for one that holds none of those that are wanted.
    """
    seeds = {node.id: (node, why) for node in graph.nodes.values() if (why := _why(graph, node, holds))}
    because = {name: why for name, (_, why) in seeds.items()}
    waiting = [node for node, _ in seeds.values()]
    while waiting:
        node = waiting.pop()
        for consumer in graph.consumers(node):
            if consumer.stage in _BY_CONTENT or consumer.id in because or _took_no_recordings(node, consumer):
                continue
            because[consumer.id] = f"made from {node.stage} {shown_key(node.key)}"
            waiting.append(consumer)
    return because


def _took_no_recordings(node: Node, consumer: Node) -> bool:
    """Tell whether an artifact took nothing of a manifest but which sources are synthetic."""
    origins = (node.facets or {}).get(SYNTHETIC_FACET)
    taken = [edge.content for edge in consumer.inputs if edge.stage == node.stage]
    return node.stage == MANIFEST and all(content == origins for content in taken)


def _why(graph: Graph, node: Node, holds: Callable[[Artifact], str]) -> str:
    """Say why an artifact itself, whatever its inputs, holds what is looked for, or may; empty if it does not."""
    if node.artifact and node.stage in _BY_CONTENT:
        return holds(node.artifact)
    # another of the same content may stand in for it, but what made that one need not be what made this one
    gone = [edge for edge in node.inputs if (edge.stage, edge.key) not in graph.nodes and edge.stage not in _SOURCES]
    if not gone:
        return ""
    lacking = "was never here" if gone[0].stage == OUTSIDE else "is gone"
    return f"{gone[0].stage} {shown_key(gone[0].key)}, which it was made from, {lacking}: it may hold it"


def _holds(artifact: Artifact, recording_ids: Collection[str]) -> str:
    """Say why an artifact that lists its recordings counts as holding some of `recording_ids`; empty if it does not."""
    try:
        in_files = [held_recording_ids(artifact.file(name)) or set() for name in artifact.files]
    except ArtifactError:
        return _UNREADABLE
    return "" if all(in_file.isdisjoint(recording_ids) for in_file in in_files) else "holds it"
