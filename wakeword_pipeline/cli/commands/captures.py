"""`wakeword captures`: what `serve --keep` and `listen --keep` have kept, and how to be rid of it."""

import json
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.errors import ConfigError
from wakeword_core.files import remove_abandoned_parts
from wakeword_core.runtime.captures import Capture, captures_in, read_facts
from wakeword_core.text import printable


def list_captures(folder: Path, *, as_json: bool) -> None:
    """Print each capture of a folder, the oldest first; what of its facts cannot be read is left out."""
    found = [capture for capture in _captures(folder) if capture.sound.is_file()]
    if as_json:
        named = [{"sound": str(capture.sound), "kind": capture.kind} for capture in found]
        rows = [{**read_facts(capture), **names} for capture, names in zip(found, named, strict=True)]
        print(json.dumps({"captures": rows, "bytes": sum(capture.bytes for capture in found)}))
        return
    table = Table("file", "wake word", "score", "threshold")
    for capture in found:
        facts = read_facts(capture)
        shown = (capture.sound.name, *(facts.get(name, "?") for name in ("word", "score", "threshold")))
        table.add_row(*(Text(printable(one)) for one in shown))
    if found:
        Console().print(table)
    print(printable(f"{_counted(found)} in {folder}"))


def delete_captures(folder: Path) -> None:
    """Delete every capture of a folder, and what a kill left half written; files that are none of them stay."""
    found = _captures(folder)
    remove_abandoned_parts(folder)
    for capture in found:
        capture.delete()
    print(printable(f"deleted {_counted(found)} in {folder}"))


def _captures(folder: Path) -> list[Capture]:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; name the one that was given to --keep")
    return captures_in(folder)


def _counted(found: list[Capture]) -> str:
    kinds = Counter(capture.kind for capture in found)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    megabytes = sum(capture.bytes for capture in found) / 1e6
    return f"{len(found)} captures{f' ({told})' if told else ''}, {megabytes:.1f} MB"
