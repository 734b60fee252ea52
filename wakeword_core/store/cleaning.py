"""What lies in a store to no purpose, and deleting it: whole artifacts, reusable pieces, leftovers of killed builds."""

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wakeword_core.errors import ArtifactError
from wakeword_core.files import read_json
from wakeword_core.store.artifacts import BUILDING, LOCK, PARTS, Artifact, ArtifactStore, Parts
from wakeword_core.store.graph import Graph, NodeId

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
        """Bytes of its files, whether other names of them stay or not."""
        return sum(path.lstat().st_size for path in _files(self.paths))


def garbage(store: ArtifactStore, roots: Collection[NodeId], resumable: Collection[NodeId]) -> list[Item]:
    """What neither is among the roots nor was used to make them; unfinished builds too, but for the `resumable`."""
    graph = Graph.of_store(store)
    starts = graph.known(roots)
    kept = {one.id for one in (*starts, *graph.upstream(*starts))}
    unreachable = [artifact for name, artifact in graph.artifacts.items() if name not in kept]
    return [
        *(artifact_item(one, "nothing that stays was made from it") for one in unreachable),
        *leftovers(store, graph, resumable),
        *unshared_pieces(store, (one for name, one in graph.artifacts.items() if name in kept), resumable),
    ]


def artifact_item(artifact: Artifact, because: str) -> Item:
    """An artifact as something to delete."""
    return Item(artifact.stage, shown_key(artifact.key), because, (artifact.path,))


def shown_key(key: str) -> str:
    """The beginning of a key, for people."""
    return key[:_SHOWN_KEY]


def leftovers(store: ArtifactStore, graph: Graph, resumable: Collection[NodeId] = ()) -> list[Item]:
    """Folders that are no artifacts: of killed builds nobody goes on with, set aside, half deleted, without a card."""
    artifacts = {artifact.path for artifact in graph.artifacts.values()}
    found = []
    for folder in sorted(store.root.glob("*/*/")):
        stage, name = folder.parent.name, folder.name
        key = name.removeprefix(BUILDING)
        if name.startswith(BUILDING):
            if (stage, key) not in resumable and not store.is_building(stage, key):
                found.append(Item(stage, shown_key(key), "an unfinished build", (folder,)))
        elif name.startswith("."):
            found.append(Item(stage, name, "set aside", (folder,)))
        elif not stage.endswith(PARTS) and folder not in artifacts:
            found.append(Item(stage, name, "no artifact: its card cannot be read", (folder,)))
    return found


def unshared_pieces(store: ArtifactStore, kept: Iterable[Artifact], resumable: Collection[NodeId] = ()) -> list[Item]:
    """Reusable pieces, an item a stage, that neither an artifact in `kept` nor a `resumable` build holds."""
    held = {entry.sha256 for artifact in kept for entry in artifact.files.values()}
    linked = {_place(path) for stage, key in resumable for path in _files([store.root / stage / f"{BUILDING}{key}"])}
    found = []
    for folder in sorted(store.root.glob(f"*{PARTS}/")):
        loose = [one for one in _pieces(folder) if _hash_of(one) not in held and _place(one) not in linked]
        if loose:
            paths = tuple(path for piece in loose for path in (piece, Parts.note(piece)) if path.exists())
            what = f"{len(loose)} reusable piece{'s' * (len(loose) > 1)}"
            found.append(Item(folder.name.removesuffix(PARTS), what, "held by nothing that stays", paths))
    return found


def freed_bytes(items: Iterable[Item]) -> int:
    """Bytes that deleting all of the items gives back: a file counts once, and when no other name of it stays."""
    files = list(_files(path for item in items for path in item.paths))
    names = Counter(map(_place, files))
    stats = {_place(path): path.lstat() for path in files}
    return sum(stat.st_size for place, stat in stats.items() if names[place] >= stat.st_nlink)


def delete(items: Iterable[Item]) -> None:
    """Delete what the items name; a folder is renamed first, so that a kill leaves no half artifact."""
    for item in items:
        for path in item.paths:
            try:
                _delete(path)
            except OSError as error:
                raise ArtifactError(f"cannot delete {path}: {error.strerror}; what went before it is gone") from error


def _delete(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = path.with_name(f"{_DELETING}{path.name.lstrip('.')}-{time.time_ns()}")
    path.rename(aside)
    shutil.rmtree(aside)
    path.with_name(f"{LOCK}{path.name.removeprefix(BUILDING)}").unlink(missing_ok=True)


def _pieces(folder: Path) -> Iterator[Path]:
    """Everything in a folder of pieces but their notes and the hints at the latest ones."""
    yield from sorted(path for path in folder.iterdir() if path.suffix != _NOTE_SUFFIX)


def _hash_of(piece: Path) -> str:
    """SHA-256 of a piece as it was kept, or nothing when its note is lost."""
    try:
        return str(read_json(Parts.note(piece))["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (one for one in path.rglob("*") if not one.is_dir())
        elif path.exists():
            yield path


def _place(path: Path) -> tuple[int, int]:
    """What all names of a file have in common."""
    stat = path.lstat()
    return stat.st_dev, stat.st_ino
