"""Finished artifacts that machines share: a remote has them by stage and key, as a store has.

`artifacts/<stage>/<key>/artifact.json` is an artifact's card, which is written last, and `files/<2 digits>/<sha256>` a
file, once however many artifacts have it. So a transfer that broke goes on with what is not there yet, two who write
the same do not disturb each other, and of two who made the same artifact with other bytes the first one counts.

What comes from a remote may be anybody's: a card is held against the stage and key that were asked for, no name in it
leads out of its folder, and each file is read up to the size that its card states and held against its hash.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from wakeword_core.errors import ArtifactError, WakewordError, reason_of
from wakeword_core.files import as_type, link_or_copy, parse_json, replacing, require_space
from wakeword_core.progress import Progress, silent
from wakeword_core.store.artifacts import CARD, CHECKS_FILE, Artifact, artifact_key, card_of
from wakeword_core.store.graph import NodeId
from wakeword_core.store.objects import Entry, Objects
from wakeword_core.store.parts import FileEntry, PathPart, read_hash

log = logging.getLogger(__name__)

Item = TypeVar("Item")

_CARDS, _FILES = "artifacts", "files"
"""Folders of a remote."""
_MOST_CARD_BYTES = 64 * 2**20
_READ_BYTES = 2**20
_AT_ONCE = 8
"""Objects that are transferred at the same time."""
_LOOK_SECONDS = 0.5
_UPLOAD_HOURS = 24
"""A file that no card names may belong to an upload that is still going on; after this time it does not."""
_DELETED_AT_ONCE = 1_000
_OWN_NAMES = {CARD, CHECKS_FILE}
"""Files beside those of an artifact, which the home writes itself."""


@dataclass(frozen=True)
class Shared:
    """An artifact on a remote, and when its card was written last."""

    artifact: Artifact
    modified: datetime


@dataclass(frozen=True)
class RemoteItem:
    """Something on a remote that may be deleted: what it is, why, its bytes, and its objects below the URL."""

    stage: str
    what: str
    because: str
    size: int
    paths: tuple[str, ...]


class Remote:
    """The artifacts below a URL. Every method raises RemoteError when the store cannot be reached or refuses.

    It is opened when it is first used. `uploads` says whether builds offer to it what they made.
    """

    def __init__(self, url: str, *, uploads: bool = False, progress: Progress = silent) -> None:
        self.url = url
        self._uploads = uploads
        self._progress = progress
        self._damaged: set[str] = set()
        """Hashes of files that were found to have other bytes."""

    @cached_property
    def _objects(self) -> Objects:
        return Objects(self.url)

    def fetch(self, stage: str, key: str, folder: Path, known: Callable[[], Mapping[str, Path]] = dict) -> bool:
        """Fill a folder with an artifact, the card last; return whether the remote has it.

        Files that are there from a transfer that broke are gone on with, and those that are `known` here by their
        hash are linked. ArtifactError, which names the object, where the artifact is incomplete or damaged, and
        WakewordError where there is no room for it here.
        """
        text = self._card_text(stage, key)
        if text is None:
            return False
        artifact = self._checked(text, folder.with_name(key))
        folder.mkdir(exist_ok=True)
        require_space(folder, artifact.size, f"fetching {stage} {key}")
        local = known()
        targets = {folder / name: entry for name, entry in artifact.files.items()}
        try:
            for stray in {path for path in folder.rglob("*") if path.is_file()} - targets.keys():
                stray.unlink()
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            self._transfer(
                f"fetch {stage} (kB)",
                targets.items(),
                lambda item, add: self._fetch_file(*item, local.get(item[1].sha256), add),
                artifact.size,
            )
            with replacing(folder / CARD) as part:
                part.write_bytes(text)
        except OSError as error:
            raise WakewordError(f"{stage} {key} cannot be written to {folder} ({reason_of(error)})") from error
        log.info("%s %s was taken from %s", stage, key, self.url)
        return True

    def offer(self, artifact: Artifact) -> None:
        """Upload what was built just now, if that is wanted; a failure is logged, since the build is complete."""
        if not self._uploads:
            return
        try:
            self.push(artifact)
        except WakewordError as error:
            log.warning("%s; `wakeword push` uploads it later", error)

    def push(self, artifact: Artifact) -> bool:
        """Upload an artifact, the card last; return whether any of it was missing.

        One with other bytes that is there and whole stays. ArtifactError for an artifact whose files are damaged.
        """
        card_name = _card_name(artifact.stage, artifact.key)
        text = self._card_text(artifact.stage, artifact.key)
        if text is not None and (there := self._whole(text, artifact.path)):
            if there.content == artifact.content:
                self._objects.write(card_name, text)  # so that it counts as pushed today
            else:
                log.info("%s has %s %s with other bytes, which stay", self.url, artifact.stage, artifact.key)
            return False
        if wrong := artifact.damaged(read=True, again=False):
            raise ArtifactError(f"{artifact.stage} {artifact.key} is damaged ({', '.join(wrong[:3])}): run again")
        files = {entry.sha256: artifact.path / name for name, entry in artifact.files.items()}
        entries = set(artifact.files.values())
        missing = self._missing(entries)
        self._send(artifact.stage, missing, files)
        if not self._objects.write(card_name, (artifact.path / CARD).read_bytes(), new=text is None):
            log.info("%s got %s %s from another writer just now", self.url, artifact.stage, artifact.key)
            return False
        self._send(artifact.stage, self._missing(entries - missing), files)  # what a `gc` has deleted meanwhile
        return True

    def artifacts(self, root: Path) -> list[Shared]:
        """Return every artifact of the remote, with the path that it would have in the store `root`.

        ArtifactError for a card that cannot be read: nobody knows which files it needs.
        """
        listed = [
            (stage, key, entry.modified)
            for entry in self._objects.list(_CARDS)
            for stage, key in [_place_of(entry.name)]
            if stage
        ]
        found: list[Shared] = []

        def read(item: tuple[str, str, datetime], add: Callable[[int], None]) -> None:
            stage, key, modified = item
            text = self._card_text(stage, key)
            add(1)
            if text is not None:  # else it was deleted just now
                found.append(Shared(self._checked(text, root / stage / key), modified))

        self._transfer("read what the remote has", listed, read, len(listed), unit=1)
        return sorted(found, key=lambda shared: (shared.artifact.created, shared.artifact.stage, shared.artifact.key))

    def items(
        self, shared: Iterable[Shared], because: Mapping[NodeId, str], wanted: Collection[str] | None = None
    ) -> list[RemoteItem]:
        """Return as something to delete the artifacts that `because` has a reason for, with files that only they have.

        Files that no artifact has count, too: those whose hashes are `wanted`, or all that no upload can still need.
        """
        artifacts = {(one.artifact.stage, one.artifact.key): one.artifact for one in shared}
        gone = [one for place, one in artifacts.items() if place in because]
        named = _hashes(artifacts.values())
        freed = named - _hashes(one for place, one in artifacts.items() if place not in because)
        before = datetime.now(UTC) - timedelta(hours=_UPLOAD_HOURS)
        loose: dict[str, Entry] = {}
        for entry in self._objects.list(_FILES):
            sha256 = entry.name.rpartition("/")[2]
            nobodys = sha256 not in named and (entry.modified < before if wanted is None else sha256 in wanted)
            if nobodys or sha256 in freed:
                loose[sha256] = entry
        items = []
        for one in gone:
            files = [loose.pop(sha256) for sha256 in sorted(_hashes([one])) if sha256 in loose]
            names = (_card_name(one.stage, one.key), *(file.name for file in files))
            because_of = because[one.stage, one.key]
            items.append(RemoteItem(one.stage, one.key, because_of, sum(file.size for file in files), names))
        if loose:
            what, why = f"{len(loose)} file{'s' * (len(loose) > 1)}", "no artifact has them"
            names = tuple(file.name for file in loose.values())
            items.append(RemoteItem("", what, why, sum(file.size for file in loose.values()), names))
        return items

    def delete(self, items: Iterable[RemoteItem]) -> None:
        """Delete artifacts, and then files but for those that artifacts have which were pushed since they were listed.

        So no card names a file that is gone.
        """
        names = {name for item in items for name in item.paths}
        files = {name for name in names if name.startswith(f"{_FILES}/")}
        self._delete(names - files)
        needed = files & set(map(_file_name, _hashes(one.artifact for one in self.artifacts(Path())))) if files else ()
        if needed:
            log.warning(
                "%s: what artifacts that were pushed just now have, too, stays: %d of the files", self.url, len(needed)
            )
        self._delete(files.difference(needed))

    def _delete(self, names: Iterable[str]) -> None:
        ordered = sorted(names)
        for start in range(0, len(ordered), _DELETED_AT_ONCE):
            self._objects.delete(ordered[start : start + _DELETED_AT_ONCE])

    def _card_text(self, stage: str, key: str) -> bytes | None:
        return self._objects.read(_card_name(stage, key), _MOST_CARD_BYTES)

    def _checked(self, text: bytes, path: Path) -> Artifact:
        """Return the artifact that a card describes, with the path that it is to have; ArtifactError where it is none.

        Its key has to be that of what it says that it was made from.
        """
        try:
            artifact = card_of(parse_json(text), path)
            contents = {name: source["content"] for name, source in artifact.inputs.items()}
            if artifact_key(contents, artifact.config, artifact.code_version) != artifact.key:
                raise ValueError("its key is not that of what it was made from")
            if own := _OWN_NAMES.intersection(artifact.files):
                raise ValueError(f"it lists {own.pop()}, which no stage writes")
        except ValueError as error:
            name = _card_name(path.parent.name, path.name)
            raise ArtifactError(
                f"{self.url}/{name} cannot be used ({reason_of(error)}); it may be of another version of wakeword, or "
                "damaged: delete it there if it is"
            ) from None
        return artifact

    def _whole(self, text: bytes, path: Path) -> Artifact | None:
        """Return the artifact that a card describes, unless it is incomplete or known to be damaged."""
        try:
            artifact = self._checked(text, path)
        except ArtifactError:
            return None
        return None if self._missing(set(artifact.files.values())) else artifact

    def _missing(self, entries: Collection[FileEntry]) -> set[FileEntry]:
        """Return the files that the remote does not have, or has with another size, or is known to have damaged."""
        missing = {entry for entry in entries if entry.sha256 in self._damaged}

        def look(entry: FileEntry, add: Callable[[int], None]) -> None:
            found = self._objects.look(_file_name(entry.sha256))
            if found is None or found.size != entry.size:
                missing.add(entry)

        self._transfer("look what the remote has", entries, look, 0)
        return missing

    def _send(self, stage: str, entries: Collection[FileEntry], files: Mapping[str, Path]) -> None:
        def send(entry: FileEntry, add: Callable[[int], None]) -> None:
            self._objects.write(_file_name(entry.sha256), files[entry.sha256])
            self._damaged.discard(entry.sha256)
            add(entry.size)

        self._transfer(f"upload {stage} (kB)", entries, send, sum(entry.size for entry in entries))

    def _fetch_file(self, target: Path, entry: FileEntry, known: Path | None, add: Callable[[int], None]) -> None:
        """Fetch one file, as far as it is not there; ArtifactError where the remote's is not what the card says."""
        if known and not known.is_symlink() and read_hash(known) == entry.sha256:
            link_or_copy(known, target)
            return
        for begins_anew in (False, True):  # what is there may be wrong itself
            if begins_anew:
                target.unlink(missing_ok=True)
            if self._completed(target, entry, add):
                return
        target.unlink(missing_ok=True)
        self._damaged.add(entry.sha256)
        raise ArtifactError(
            f"{self.url}/{_file_name(entry.sha256)} is missing, or has not the bytes of its name; delete it there, "
            "and `wakeword push` uploads it again from where the artifact is whole"
        )

    def _completed(self, target: Path, entry: FileEntry, add: Callable[[int], None]) -> bool:
        """Add to a file what it lacks, and tell whether it is then the one that is wanted."""
        hashed = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(target, flags, 0o666), "r+b") as file:
            while chunk := file.read(_READ_BYTES):
                hashed.update(chunk)
            done = file.tell()
            if done < entry.size and os.fstat(file.fileno()).st_nlink > 1:
                return False  # what other artifacts share is never written to
            with suppress(FileNotFoundError):
                for chunk in self._objects.stream(_file_name(entry.sha256), done) if done < entry.size else ():
                    done += len(chunk)
                    if done > entry.size:
                        return False
                    file.write(chunk)
                    hashed.update(chunk)
                    add(len(chunk))
        return done == entry.size and hashed.hexdigest() == entry.sha256

    def _transfer(
        self,
        what: str,
        items: Iterable[Item],
        work: Callable[[Item, Callable[[int], None]], None],
        total: int,
        *,
        unit: int = 1_000,
    ) -> None:
        """Work on items, several at once, and show how much of `total` they have added; the first error is raised."""
        done: list[int] = []
        stopped = threading.Event()

        def add(count: int) -> None:
            if stopped.is_set():
                raise InterruptedError
            done.append(count)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = {pool.submit(work, item, add) for item in items}
            try:
                while waiting:
                    finished, waiting = wait(waiting, _LOOK_SECONDS, FIRST_EXCEPTION)
                    if total:
                        self._progress(what, min(sum(done), total) // unit, total // unit)
                    for future in finished:
                        future.result()
            finally:
                stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)


def _hashes(artifacts: Iterable[Artifact]) -> set[str]:
    return {entry.sha256 for artifact in artifacts for entry in artifact.files.values()}


def _card_name(stage: str, key: str) -> str:
    return f"{_CARDS}/{stage}/{key}/{CARD}"


def _file_name(sha256: str) -> str:
    return f"{_FILES}/{sha256[:2]}/{sha256}"


def _place_of(name: str) -> tuple[str, str]:
    """Return stage and key of a card by its name; empty for what is no card's."""
    folder, *parts = name.split("/")
    if folder != _CARDS or len(parts) != 3 or parts[2] != CARD:
        return "", ""
    try:
        stage, key = as_type(list[PathPart], parts[:2])
    except ValueError:
        return "", ""
    return stage, key
