"""The recordings and speakers that a person names: by a file or a folder, there or gone, an id, or a name."""

import difflib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd

from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.files import as_type, hash_file, read_json
from wakeword_core.recordings.manifest import MANIFEST_FILE, ROOTS, readable_manifests
from wakeword_core.recordings.scan import ScanCache, scan
from wakeword_core.stage_names import MANIFEST
from wakeword_core.store.artifacts import ArtifactStore

log = logging.getLogger(__name__)

_COLUMNS = ("recording_id", "speaker", "source", "path")
_ID_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_ID_LENGTH = 64
_SHOWN = 8


def known_recordings(store: ArtifactStore) -> pd.DataFrame:
    """Return every recording that any manifest of a store lists: columns recording_id, speaker, source, path and root.

    `root` is the folder that the path begins at, as far as the manifest says. What was set aside counts too.
    """
    frames = [pd.DataFrame(columns=[*_COLUMNS, "root"], dtype="str")]
    folders = sorted(path.parent for path in (store.root / MANIFEST).glob(f"*/{MANIFEST_FILE}"))
    for folder, rows in readable_manifests(folders, _COLUMNS).items():
        frames.append(rows.assign(root=rows["source"].map(_roots(folder)).fillna("").astype("str")))
    return pd.concat(frames, ignore_index=True).drop_duplicates(ignore_index=True)


def _roots(manifest: Path) -> dict[str, str]:
    try:
        return as_type(dict[str, str], read_json(manifest / ROOTS))
    except (OSError, ValueError):
        return {}


@dataclass(frozen=True)
class Named:
    """The recordings that a person's text names: by what is there now, and by what manifests have for that place."""

    present: frozenset[str]
    listed: frozenset[str]

    @property
    def recording_ids(self) -> list[str]:
        """Return the ids of all of them."""
        return sorted(self.present | self.listed)


def find_recordings(text: str, known: pd.DataFrame, roots: Mapping[str, Path], cache: ScanCache) -> Named:
    """Find the recordings that are named by a file or a folder, there or gone, or by an id, or 8 digits of it or more.

    A file or a folder names what is there now and, since it may have been edited, all that any manifest lists for that
    place. `roots` is source -> folder. DataError when none, or an id that begins several, fits.
    """
    path = Path(text)
    if not os.path.exists(path) and _ID_PREFIX.fullmatch(text.lower()):
        return Named(frozenset(), frozenset([_with_id(text, known)]))
    present, listed = _present(path, cache), _listed(path, known, roots)
    if not present | listed:
        raise DataError(
            f"{text} is no recording: there is no such file, and no manifest of this home lists it; name a file, a "
            "folder, an id, or 8 digits or more of one"
        )
    return Named(present, listed)


def _with_id(text: str, known: pd.DataFrame) -> str:
    matches = known[known["recording_id"].str.startswith(text.lower())]
    recording_ids = matches["recording_id"].unique()
    if len(recording_ids) == 1:
        return str(recording_ids[0])
    if len(recording_ids):
        rows = matches.drop_duplicates("recording_id")[:_SHOWN].itertuples()
        some = "; ".join(f"{row.recording_id[:16]} is {row.source}/{row.path}" for row in rows)
        raise DataError(f"{text} may be {len(recording_ids)} recordings: {some}; name one by more of its id")
    if len(text) == _ID_LENGTH:
        return text.lower()
    raise DataError(
        f"{text} is no recording: there is no such file, and no manifest of this home lists it; name a file, a folder, "
        "an id, or 8 digits or more of one"
    )


def _present(path: Path, cache: ScanCache) -> frozenset[str]:
    """Return the hash of a file's bytes, or of those of each recording in a folder."""
    if os.path.isfile(path):  # False, too, for names that the file system refuses
        try:
            return frozenset([hash_file(path)])
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror}; make it readable, or name it by its id"
            ) from error
    if not os.path.isdir(path):
        return frozenset()
    source = SourceConfig(name="folder", path=path.absolute(), role="negative")
    rows = scan([source], cache).rows
    unread = rows[rows["error"] != ""]
    for row in unread.itertuples():
        log.warning("%s %s: only what manifests have for this place is forgotten", path / row.path, row.error)
    return frozenset(rows.loc[rows["error"] == "", "recording_id"])


def _listed(path: Path, known: pd.DataFrame, roots: Mapping[str, Path]) -> frozenset[str]:
    """Return all that manifests have had at the place of a file, or below that of a folder."""
    names = {os.path.abspath(path), os.path.realpath(path)}
    recording_ids: set[str] = set()
    for (source, recorded), rows in known.groupby(["source", "root"]):
        starts = {str(root) for root in (recorded, roots.get(str(source))) if root}
        starts |= {os.path.realpath(start) for start in starts}
        for name, start in product(names, starts):
            if name == start or start.startswith(name.rstrip(os.sep) + os.sep):  # a folder around the source
                recording_ids.update(rows["recording_id"])
            elif name.startswith(start.rstrip(os.sep) + os.sep):
                inside = os.path.relpath(name, start)
                here = (rows["path"] == inside) | rows["path"].str.startswith(inside + os.sep)
                recording_ids.update(rows.loc[here, "recording_id"])
    return frozenset(recording_ids)


def find_speaker(text: str, known: pd.DataFrame) -> tuple[str, list[str]]:
    """Find the speaker group of a name, with or without its source, and its recordings; DataError if unknown."""
    groups = pd.Series(known["speaker"].unique(), dtype="str")
    exact, short = groups == text, groups.str.split("/", n=1).str[-1] == text
    matches = groups[exact if exact.any() else short]
    if len(matches) == 1:
        speaker = str(matches.iloc[0])
        return speaker, known.loc[known["speaker"] == speaker, "recording_id"].unique().tolist()
    if len(matches):
        raise DataError(f"{text} may be {' or '.join(matches[:_SHOWN])}; name one of them in full")
    close = difflib.get_close_matches(text, groups.tolist(), 3)
    hint = f"did you mean {' or '.join(close)}?" if close else "raw_manifest lists them all"
    raise DataError(f"no manifest of this home has a speaker {text}; {hint}")
