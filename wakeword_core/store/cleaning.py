"""Finding and deleting what nothing needs: whole artifacts, reusable pieces, leftovers of killed builds."""

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wakeword_core.errors import ArtifactError
from wakeword_core.files import file_identity, read_json
from wakeword_core.store.artifacts import BUILDING, LOCK, PARTS, Artifact, ArtifactStore
from wakeword_core.store.graph import Graph, Node, NodeId
from wakeword_core.store.parts import Parts
from wakeword_core.store.remote import Remote, RemoteItem

_DELETING = ".deleting-"
_NOTE_SUFFIX = ".json"
_SHOWN_KEY = 10


@dataclass(frozen=True)
class Item:
    """Something that may be deleted: what it is, why, and the files or the folder that go."""

    stage: str
    what: str
    because: str
    paths: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Return the bytes of its files, whether other names of them stay or not."""
        return sum(path.lstat().st_size for path in _files(self.paths))


def garbage(store: ArtifactStore, roots: Collection[NodeId], resumable: Collection[NodeId]) -> list[Item]:
    """List what is not among the roots and was not used to make them; of unfinished builds, all but the `resumable`."""
    graph = Graph.of_store(store)
    kept = _reachable(graph, roots)
    unreachable = [artifact for name, artifact in graph.artifacts.items() if name not in kept]
    return [
        *(artifact_item(artifact, "nothing that stays was made from it") for artifact in unreachable),
        *leftovers(store, graph, resumable),
        *unshared_pieces(store, (graph.artifacts[name] for name in kept if name in graph.artifacts), resumable),
    ]


def remote_garbage(
    remote: Remote, store: ArtifactStore, roots: Collection[NodeId], keep_days: float
) -> list[RemoteItem]:
    """List what a remote has that is not among the roots, was not used to make them, and was not pushed lately.

    What was pushed in the last `keep_days` may be what another home needs: it stays with all it was made from.
    """
    shared, since = remote.artifacts(store.root), datetime.now(UTC) - timedelta(days=keep_days)
    graph = Graph(Node.of_artifact(artifact) for artifact in (*store.cards(), *(one.artifact for one in shared)))
    places = {(one.artifact.stage, one.artifact.key): one.modified for one in shared}
    kept = _reachable(graph, {*roots, *(place for place, modified in places.items() if modified >= since)})
    why = "nothing that stays was made from it"
    return remote.items(shared, {place: why for place in places if place not in kept})


def _reachable(graph: Graph, roots: Iterable[NodeId]) -> set[NodeId]:
    """Return the roots that there are, and everything that they were made from."""
    starts = graph.known(roots)
    return {node.id for node in (*starts, *graph.upstream(*starts))}


def artifact_item(artifact: Artifact, because: str) -> Item:
    """Return an artifact as something to delete."""
    return Item(artifact.stage, shown_key(artifact.key), because, (artifact.path,))


def shown_key(key: str) -> str:
    """Return the beginning of a key, for people."""
    return key[:_SHOWN_KEY]


def leftovers(store: ArtifactStore, graph: Graph, resumable: Collection[NodeId] = ()) -> list[Item]:
    """List what is no artifact: unfinished builds, what was set aside or half deleted or has no card, and links.

    What a link leads to is not ours: the link alone is listed.
    """
    artifacts = {artifact.path for artifact in graph.artifacts.values()}
    items = []
    for link in sorted(path for pattern in ("*", "*/*") for path in store.root.glob(pattern) if path.is_symlink()):
        if not link.parent.is_symlink() or link.parent == store.root:
            items.append(Item(link.parent.name, link.name, "a link, which no build makes", (link,)))
    for folder in sorted(path for path in store.root.glob("*/*") if _is_own_folder(path.parent, path)):
        stage, name = folder.parent.name, folder.name
        key = name.removeprefix(BUILDING)
        if name.startswith(BUILDING):
            if (stage, key) not in resumable and not store.is_building(stage, key):
                items.append(Item(stage, shown_key(key), "an unfinished build", (folder,)))
        elif name.startswith("."):
            items.append(Item(stage, name, "set aside", (folder,)))
        elif not stage.endswith(PARTS) and folder not in artifacts:
            items.append(Item(stage, name, "no artifact: its card cannot be read", (folder,)))
    return items


def unshared_pieces(store: ArtifactStore, kept: Iterable[Artifact], resumable: Collection[NodeId] = ()) -> list[Item]:
    """List reusable pieces, an item a stage, that neither an artifact in `kept` nor a `resumable` build has."""
    hashes = {entry.sha256 for artifact in kept for entry in artifact.files.values()}
    unfinished = _files(store.root / stage / f"{BUILDING}{key}" for stage, key in resumable)
    linked = {file_identity(path) for path in unfinished}
    items = []
    for folder in sorted(path for path in store.root.glob(f"*{PARTS}") if _is_own_folder(path)):
        # all but notes of pieces and hints at the latest ones
        pieces = sorted(path for path in folder.iterdir() if path.suffix != _NOTE_SUFFIX and not path.is_symlink())
        loose = [path for path in pieces if _hash_of(path) not in hashes and file_identity(path) not in linked]
        if loose:
            paths = tuple(path for piece in loose for path in (piece, Parts.note(piece)) if path.exists())
            what = f"{len(loose)} reusable piece{'s' * (len(loose) > 1)}"
            items.append(Item(folder.name.removesuffix(PARTS), what, "held by nothing that stays", paths))
    return items


def freed_bytes(items: Iterable[Item]) -> int:
    """Return the bytes that deleting all of the items gives back: of each file once, if no other name of it stays."""
    files = list(_files(path for item in items for path in item.paths))
    names = Counter(map(file_identity, files))
    stats = {file_identity(path): path.lstat() for path in files}
    return sum(stat.st_size for file, stat in stats.items() if names[file] >= stat.st_nlink)


def delete(items: Iterable[Item]) -> None:
    """Delete what the items name; a folder is renamed first, so that a kill leaves no half artifact."""
    for item in items:
        for path in item.paths:
            try:
                _delete(path)
            except OSError as error:
                raise ArtifactError(f"cannot delete {path}: {error.strerror}; what went before it is gone") from error


def _delete(path: Path) -> None:
    if not _is_own_folder(path):
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f"{_DELETING}{path.name.lstrip('.')}-{time.time_ns()}")
    path.rename(aside)
    shutil.rmtree(aside)
    path.with_name(f"{LOCK}{path.name.removeprefix(BUILDING)}").unlink(missing_ok=True)


def _hash_of(piece: Path) -> str:
    """Return the SHA-256 of a piece as it was kept, or nothing when its note is lost."""
    try:
        return str(read_json(Parts.note(piece))["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _is_own_folder(*paths: Path) -> bool:
    """Tell whether all of them are folders, and none of them a link to one."""
    return all(path.is_dir() and not path.is_symlink() for path in paths)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if _is_own_folder(path):
            yield from (file for file in path.rglob("*") if not _is_own_folder(file))
        elif path.is_symlink() or path.exists():
            yield path
