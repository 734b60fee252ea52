"""`wakeword detect`: find the wake word in recordings and in folders of them."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wakeword_core.audio import AudioError, probe, read_pcm_blocks
from wakeword_core.files import write_csv
from wakeword_core.runtime.levels import Levels
from wakeword_core.runtime.live import open_model
from wakeword_core.runtime.model import detect_blocks
from wakeword_core.sound_formats import SOUND_ENDINGS, sound_format
from wakeword_core.text import printable

_NAMED = 3
_COLUMNS = ("path", "time", "score", "label")
log = logging.getLogger(__name__)


def detect(
    model: Path,
    audio: Sequence[Path],
    sensitivity: str | None,
    threshold: float | None,
    *,
    alone: bool,
    as_json: bool,
    table: Path | None = None,
) -> None:
    """Print each detection, or all as one JSON object by path; exit status 1 if a recording could not be read.

    They are written to a `table` besides, a row each.
    """
    opened = open_model(model, alone=alone)
    threshold = opened.threshold_at(sensitivity, threshold)
    by_path: dict[str, list[dict[str, Any]]] = {}
    recordings, faults = _recordings(audio)
    for path in recordings:
        levels = Levels(opened.sample_rate)
        try:
            detections = detect_blocks(opened, levels.passing(read_pcm_blocks(path, opened.sample_rate)), threshold)
        except AudioError as error:
            faults.append(str(error))
            continue
        if levels.hint:
            log.warning("%s: %s", path, levels.hint)
        by_path[str(path)] = [
            {"time": round(event.time, 3), "score": round(event.score, 4), "label": event.label} for event in detections
        ]
        if not as_json:
            for event in detections:
                print(printable(path) + f"\t{event.time:.2f} s\t{event.score:.3f}\t" + printable(event.label))
            if not detections:
                print(f"{printable(path)}\tnothing found")
    if table is not None:
        found = ({"path": printable(path), **event} for path, events in by_path.items() for event in events)
        write_csv(table, _COLUMNS, found)
    if as_json:
        print(json.dumps(by_path))
    for fault in faults:
        print(f"wakeword: {printable(fault)}", file=sys.stderr)
    if faults:
        sys.exit(1)


def _recordings(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that are given and the audio in folders, in order of name, and what is wrong with others."""
    recordings: list[Path] = []
    faults: list[str] = []
    for path in paths:
        found = _of_folder(path, faults) if path.is_dir() else [path]
        recordings += found
        if not found:
            faults.append(f"{path} holds no audio that can be read; give recordings or a folder of them")
    return recordings, faults


def _of_folder(folder: Path, faults: list[str]) -> list[Path]:
    """Return the audio in a folder; what is meant to be audio and cannot be read is a fault, other files are told."""
    left_out: list[str] = []
    found = []
    for path in _files(folder, left_out):
        try:
            probe(path)
            found.append(path)
        except AudioError as error:
            if path.suffix.lower() in SOUND_ENDINGS or _is_sound(path):
                faults.append(str(error))
            else:
                left_out.append(str(path.relative_to(folder)))
    if left_out:
        more = f" and {len(left_out) - _NAMED:,} more" if len(left_out) > _NAMED else ""
        log.warning("no audio that can be read in %s: %s%s", folder, ", ".join(left_out[:_NAMED]), more)
    return found


def _is_sound(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return sound_format(file) is not None
    except OSError:
        return False


def _files(folder: Path, left_out: list[str]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        left_out.append(f"{Path(error.filename).relative_to(folder)} ({error.strerror})")

    seen: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not name.startswith("."):
                yield path
            else:
                left_out.append(str(path.relative_to(folder)))
