"""The content-addressed artifact store: same inputs, same key; an artifact is complete or absent.

Layout: `<root>/<stage>/<key>/` with `artifact.json` and the stage's files. While a stage builds, its files lie in
`<root>/<stage>/.building-<key>/`, which a killed stage that can resume finds again. Reusable pieces (shards, feature
parts) are kept once under `<root>/<stage>.parts/` and hard-linked into the artifacts that hold them.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import ConfigDict, Field

from wakeword_core.errors import ArtifactError, WakewordError, reason_of
from wakeword_core.files import (
    as_type,
    clear_folder,
    digest,
    file_identity,
    inside,
    put_in_place,
    read_json,
    remove_unfinished_parts,
    restore_replaced,
    write_json,
)
from wakeword_core.python import library_versions
from wakeword_core.store.locks import alone, exclusive, is_held, shared
from wakeword_core.store.parts import SEGMENT, FileEntry, Parts, PathPart, changed_files, read_hash

log = logging.getLogger(__name__)

CARD = "artifact.json"
CHECKS_FILE = "checks.json"
"""What the checks of an artifact found, beside it."""
BUILDING, LOCK, PARTS = ".building-", ".lock-", ".parts"
"""How folders of unfinished artifacts and locks begin, and folders of reusable pieces end."""
_FETCHING = ".fetching-"
_IN_USE = ".in-use"
"""A lock that is shared by all who build or read, and taken alone by who deletes."""
KEY_LENGTH = 20
_RECORDED_VERSIONS = (
    "numpy", "torch", "soundfile", "soxr", "h5py", "pyarrow", "onnx", "onnxruntime", "onnxscript", "scikit-learn",
    "scipy", "silero-vad", "espeakng-loader", "hibari-tts", "pymicro-features",
)  # fmt: skip
_SEAL = "seal"
"""A hash in a card of all else that is in it."""
_Source = Annotated[
    dict[Annotated[str, Field(pattern="^(stage|key|content)$")], PathPart], Field(min_length=3, max_length=3)
]
_FileName = Annotated[str, Field(pattern=f"^{SEGMENT}(/{SEGMENT})*$", max_length=1_000)]


@dataclass(frozen=True)
class Artifact:
    """A complete, immutable result of one stage."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: Path
    stage: PathPart
    key: PathPart
    content: str
    """Hash over the names and bytes of all files but volatile ones, or what the stage says: the data version."""
    inputs: dict[PathPart, _Source]
    """Input name -> {stage, key, content}."""
    config: dict[str, Any]
    code_version: str
    files: dict[_FileName, FileEntry]
    facets: dict[str, str]
    """Hashes of parts that consumers depend on separately, such as one split of the manifest."""
    figures: dict[str, Any]
    """Counts and measures of the result, for people."""
    seconds: float
    created: str
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""

    def file(self, name: str) -> Path:
        """Return the path of one of its files; an error when the artifact has no such file."""
        if name not in self.files:
            raise ArtifactError(f"{self.stage} {self.key} has no file {name!r}; it has {', '.join(sorted(self.files))}")
        return self.path / name

    @property
    def size(self) -> int:
        """Return the bytes of all files together."""
        return sum(entry.size for entry in self.files.values())

    @property
    def sums(self) -> dict[str, str]:
        """Return the SHA-256 (hex) of each file, by name."""
        return {name: entry.sha256 for name, entry in self.files.items()}

    def holds(self, sha256: str) -> bool:
        """Return whether one of its files has that hash."""
        return any(entry.sha256 == sha256 for entry in self.files.values())

    def damaged(self, *, read: bool, again: bool = True) -> list[str]:
        """Return the names of files that are missing, or of another size or other bytes than when they were written.

        Without `read`, only files that were touched since the card was written are read, which does not find what a
        disk changes by itself. Where all are whole, the card is touched, so that they are not read again. Not `again`:
        a file that this process has read since it was last written is not read twice.
        """
        card = self.path / CARD
        written = card.stat().st_mtime_ns if card.is_file() else 0
        wrong, touched = changed_files(self.path, self.files, written, read=read, again=again)
        if touched and not wrong and os.access(card, os.W_OK):
            os.utime(card)
        return wrong


@dataclass
class Build:
    """A folder to fill, and where `make` leaves figures, facets, the names of files that differ at each build, and the
    hash of the result where that is not the bytes of its files.
    """

    path: Path
    key: str
    parts: Parts
    figures: dict[str, Any] = field(default_factory=dict)
    facets: dict[str, str] = field(default_factory=dict)
    volatile: set[str] = field(default_factory=set)
    content: str = ""
    device: str = "cpu"


def recorded_versions() -> dict[str, str]:
    """Return the versions that a card records of what an artifact is made with now."""
    return {"python": platform.python_version(), **library_versions(_RECORDED_VERSIONS)}


def artifact_key(inputs: Mapping[str, str], config: Mapping[str, Any], code_version: str) -> str:
    """Return the key of a stage's result: a hash of its inputs' contents, its settings and its code version."""
    return digest({"inputs": dict(inputs), "config": dict(config), "code_version": code_version})[:KEY_LENGTH]


def artifact_name(stage: str, split: str | None) -> str:
    """Return `stage`, or `stage[split]` for an artifact of one split."""
    return f"{stage}[{split}]" if split else stage


class Elsewhere(Protocol):
    """Where other machines share their artifacts; `store/remote.py` says what each method does."""

    def fetch(self, stage: str, key: str, folder: Path, known: Callable[[], Mapping[str, Path]]) -> bool: ...  # noqa: D102

    def offer(self, artifact: Artifact) -> None: ...  # noqa: D102


class ArtifactStore:
    """Artifacts under one folder, and those that other machines share with it."""

    def __init__(self, root: Path, elsewhere: Elsewhere | None = None) -> None:
        self.root = root
        self._elsewhere = elsewhere
        self._known_damage: set[Path] = set()

    def _load(self, path: Path) -> Artifact | None:
        """Read an artifact's card; None when there is none, or, which is said once, none that can be used."""
        try:
            return _read_card(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            if path not in self._known_damage:
                self._known_damage.add(path)
                log.warning(
                    "%s cannot be read (%s); it counts as missing, and is built again", path / CARD, reason_of(error)
                )
            return None

    def _is_whole(self, artifact: Artifact) -> bool:
        wrong = artifact.damaged(read=False)
        if wrong and artifact.path not in self._known_damage:
            self._known_damage.add(artifact.path)
            names = ", ".join(wrong[:3])
            log.warning("%s %s is damaged (%s) and will be built again", artifact.stage, artifact.key, names)
        return not wrong

    def find(self, stage: str, key: str) -> Artifact | None:
        """Return the complete artifact of `stage` under `key`, or None; one with damaged files counts as absent."""
        artifact = self._load(self.root / stage / key)
        return artifact if artifact and self._is_whole(artifact) else None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from deleting anything here meanwhile; waits for one that does."""
        self._make_folder(self.root)
        if not os.access(self.root, os.W_OK):  # nor can anything be deleted from it
            yield
            return
        with shared(self.root / _IN_USE, f"another process is deleting artifacts of {self.root}"):
            yield

    @contextmanager
    def undisturbed(self, what: str) -> Iterator[None]:
        """Keep others from building or reading here meanwhile; ArtifactError that names `what` if anybody does now."""
        self._make_folder(self.root)
        busy = (
            f"{what} must wait: another process builds, reads or deletes in {self.root}; run it again when that has "
            "ended, or stop it (a stopped build goes on where it was)"
        )
        with alone(self.root / _IN_USE, busy):
            for folder in self.root.glob("*/"):
                restore_replaced(folder)
            yield

    def is_building(self, stage: str, key: str) -> bool:
        """Return whether a process builds that artifact now."""
        return is_held(self._lock(stage, key))

    def all(self, stage: str | None = None) -> list[Artifact]:
        """Return every complete artifact on disk (of one stage), newest last."""
        return [artifact for artifact in self.cards(stage) if self._is_whole(artifact)]

    def cards(self, stage: str | None = None) -> list[Artifact]:
        """Return every artifact on disk (of one stage) as its card describes it, newest last; files are not read."""
        folders = (card.parent for card in self.root.glob(f"{stage or '*'}/[!.]*/{CARD}"))
        artifacts = (artifact for folder in folders if (artifact := self._load(folder)))
        return sorted(artifacts, key=lambda artifact: (artifact.created, artifact.stage, artifact.key))

    def files_by_hash(self, stage: str | None = None) -> dict[str, Path]:
        """Return a file for each SHA-256 that an artifact (of one stage) names."""
        return {entry.sha256: one.path / name for one in self.cards(stage) for name, entry in one.files.items()}

    def build(
        self,
        stage: str,
        inputs: Mapping[str, dict[str, str]],
        config: Mapping[str, Any],
        code_version: str,
        make: Callable[[Build], None],
        *,
        resumable: bool = False,
        libraries: Sequence[str] = (),
        again: bool = False,
    ) -> tuple[Artifact, bool]:
        """Return the stage's artifact and whether it was built now; a complete one is returned at once.

        `inputs` maps a name to {stage, key, content}; only the contents enter the key. `make` fills `Build.path`.
        A `resumable` stage finds the files of its killed predecessor there. Parts of another code version, or of other
        versions of the `libraries`, are not reused. Only one process builds a key at a time; others wait. One that
        another machine shares is taken instead of built, and what is built is offered to others. With `again`, a
        complete one is built too, and then takes the place of what was there.
        """
        contents = {name: source["content"] for name, source in inputs.items()}
        key = artifact_key(contents, config, code_version)
        if not again and (artifact := self.find(stage, key)):
            return artifact, False
        folder = self.root / stage
        with self._locked(stage, key):
            if not again and (artifact := self.find(stage, key) or self._shared(stage, key)):
                return artifact, False
            building = folder / f"{BUILDING}{key}"
            clear_folder(building, keep=resumable)
            building.mkdir(exist_ok=True)
            remove_unfinished_parts(building)
            started = time.monotonic()
            generation = [code_version, library_versions(libraries)]
            build = Build(building, key, Parts(self.root / f"{stage}{PARTS}", generation))
            make(build)
            remove_unfinished_parts(building)  # of workers that died
            recipe = {
                "stage": stage, "key": key, "inputs": inputs, "config": config, "code_version": code_version,
            }  # fmt: skip
            _finish(build, folder / key, recipe, time.monotonic() - started)
        artifact = self.find(stage, key)
        if artifact is None:
            raise ArtifactError(f"{stage} {key} was built but cannot be read back from {folder}")
        if self._elsewhere:
            self._elsewhere.offer(artifact)
        return artifact, True

    def fetch(self, stage: str, key: str) -> Artifact | None:
        """Return an artifact as `find` does, taken from where others share it if need be, or None.

        WakewordError where it cannot be taken from there.
        """
        if artifact := self.find(stage, key):
            return artifact
        with self._locked(stage, key):
            return self.find(stage, key) or self._fetched(stage, key)

    def _shared(self, stage: str, key: str) -> Artifact | None:
        try:
            return self._fetched(stage, key)
        except WakewordError as error:
            log.warning("%s; %s %s is built here", error, stage, key)
            clear_folder(self._fetching(stage, key), keep=False)  # the build may need the room
            return None

    def _fetched(self, stage: str, key: str) -> Artifact | None:
        """Take an artifact from where others share it; it appears whole, and a transfer that broke is gone on with."""
        if self._elsewhere is None:
            return None
        folder = self._fetching(stage, key)
        clear_folder(folder, keep=True)
        if not self._elsewhere.fetch(stage, key, folder, lambda: self.files_by_hash(stage)):
            return None
        put_in_place(folder, self.root / stage / key)
        return self.find(stage, key)

    def _fetching(self, stage: str, key: str) -> Path:
        return self.root / stage / f"{_FETCHING}{key}"

    def discard(self, artifact: Artifact) -> None:
        """Move a damaged artifact out of the way, so that the next build makes it again, and drop the parts it shares.

        The files stay where they were moved to: only the other names of the damaged ones are removed.
        """
        names = (artifact.path / name for name in artifact.damaged(read=True))
        damaged = {file_identity(path) for path in names if path.exists()}
        for part in (self.root / f"{artifact.stage}{PARTS}").glob("*"):
            if file_identity(part) in damaged:
                part.unlink()
        aside = artifact.path.with_name(f".damaged-{artifact.key}-{time.time_ns()}")
        try:
            artifact.path.rename(aside)
        except OSError as error:
            raise ArtifactError(f"{artifact.path} is damaged and cannot be moved aside: {error.strerror}") from error
        log.warning("%s %s was damaged; moved to %s", artifact.stage, artifact.key, aside)

    @contextmanager
    def _locked(self, stage: str, key: str) -> Iterator[None]:
        """Hold an artifact's lock, so that one process at a time builds or fetches it."""
        for place in (self.root / stage, self.root / f"{stage}{PARTS}"):
            if place.is_symlink():
                raise ArtifactError(
                    f"{place} is a link, and nothing below {self.root} may be one; replace it by the folder itself"
                )
        self._make_folder(self.root / stage)
        with exclusive(self._lock(stage, key), f"another process is building {stage} {key}"):
            restore_replaced(self.root / stage, key)
            yield

    def _lock(self, stage: str, key: str) -> Path:
        return self.root / stage / f"{LOCK}{key}"

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"cannot write to {folder}: {error.strerror}; choose another --home") from error


def _finish(build: Build, final: Path, recipe: Mapping[str, Any], seconds: float) -> None:
    """Write the card of what was built, and give its folder the name under which it counts as complete."""
    files = {
        path.relative_to(build.path).as_posix(): build.parts.entries.get(path)
        or FileEntry(path.stat().st_size, read_hash(path))
        for path in sorted(build.path.rglob("*"))
        if path.is_file() and path.name != CARD
    }
    card = {
        **recipe,
        "content": build.content
        or digest({name: entry.sha256 for name, entry in files.items() if name not in build.volatile}),
        "files": {name: asdict(entry) for name, entry in files.items()},
        "facets": build.facets,
        "figures": build.figures,
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "versions": recorded_versions(),
        "device": build.device,
    }
    write_json(build.path / CARD, {**card, _SEAL: digest(card)})
    put_in_place(build.path, final)


def _read_card(path: Path) -> Artifact:
    """Read an artifact's card, which anybody may have written; OSError or ValueError where it is none."""
    if not inside(path / CARD, [os.path.realpath(path.parent.parent)]):
        raise ValueError("a link leads out of the store")
    return card_of(read_json(path / CARD), path)


def card_of(card: Any, path: Path) -> Artifact:
    """Return the artifact in the folder `path` that a card, a JSON value of anybody, describes; ValueError for none."""
    if not isinstance(card, dict):
        raise ValueError("it is no card")
    if card.pop(_SEAL, None) not in (None, digest(card)):
        raise ValueError("it was changed after it was written")
    artifact = as_type(Artifact, {**card, "path": path})
    if (artifact.stage, artifact.key) != (path.parent.name, path.name):
        raise ValueError(f"it is of {artifact.stage} {artifact.key}")
    return artifact
