"""A folder of files to hand on, which appears whole or not at all, and is replaced only as long as it is as written."""

import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from wakeword_core.errors import ConfigError, WakewordError, reason_of
from wakeword_core.files import (
    as_type,
    hash_file,
    is_abandoned,
    locked,
    read_json,
    replacing,
    write_json,
    write_text,
)

LIST = "exported-files.json"
"""The file in it that lists the others with their hashes."""
_TOKEN_BYTES = 6
_UNFINISHED = re.compile(rf"\.\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}\.part")
"""The name of a folder that is being filled for the one that it is in, or was when it was killed."""


def deliver(
    files: Mapping[str, Path | str], facts: Mapping[str, Any], out: Path, *, apart_from: Path, force: bool = False
) -> list[str]:
    """Write files, each a copy of a path or a text, into the folder `out`; returns their names.

    A file in it lists them, beside `facts`, which say what they are of. A folder of the same facts that is as it was
    written is written anew. ConfigError for one that holds anything else, unless `force`: then files of the same names
    are replaced, and all others stay. It cannot be `apart_from`, where the files come from.
    """
    if LIST in files:
        raise WakewordError(f"a file of the model is called {LIST}, as the list of all files is; give it another name")
    if out.resolve() == apart_from.resolve():
        raise ConfigError(f"{out} is where the model lies; name another --out")
    try:
        if out.is_dir():
            return _into(out, files, facts, force=force)
        if os.path.lexists(out):
            raise ConfigError(f"{out} is no folder; name another --out")
        out.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            part = _part_in(out.parent, out.name, stack)
            names = _fill(part, files, facts)
            part.rename(out)
        return names
    except OSError as error:
        raise WakewordError(f"{out} cannot be written ({reason_of(error)}); name another --out") from error


def _into(out: Path, files: Mapping[str, Path | str], facts: Mapping[str, Any], *, force: bool) -> list[str]:
    """Write into a folder that is there: everything is complete before the first file is given its name.

    What an export that was killed here had made, or had given its name already, is written anew as well.
    """
    unfinished = [] if force else [path for path in out.iterdir() if _is_unfinished(path, files)]
    lists = [] if force else [_listed(folder, facts) for folder in (out, *unfinished)]
    others = sorted(
        path.name
        for path in out.iterdir()
        if path not in unfinished and not any(_as_written(path, listed) for listed in lists)
    )
    if others and not force:
        raise ConfigError(
            f"{out} holds {others[0]!r}, which is of something else or was changed since it was written; name a new "
            "folder, or write beside it with --force"
        )
    with ExitStack() as stack:
        part = _part_in(out, "", stack)
        names = _fill(part, files, facts)
        for name in files:
            (part / name).replace(out / name)
        for path in out.iterdir():  # and not what a list names, which may lie elsewhere or be gone
            if path.name not in names and any(path.name in listed for listed in lists):
                path.unlink()
        (part / LIST).replace(out / LIST)
    for path in unfinished:
        shutil.rmtree(path, ignore_errors=True)
    return names


def _part_in(folder: Path, name: str, stack: ExitStack) -> Path:
    part = folder / f".{name}.{secrets.token_hex(_TOKEN_BYTES)}.part"
    part.mkdir()
    stack.callback(shutil.rmtree, part, ignore_errors=True)
    with suppress(OSError):  # on a file system without locks
        stack.enter_context(locked(part))
    return part


def _is_unfinished(path: Path, files: Collection[str]) -> bool:
    """Tell whether a folder is what an export of these files that was killed was about to put beside it."""
    if not _UNFINISHED.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    own = {*files, LIST}
    return is_abandoned(path) and all(one.name in own or one.suffix == path.suffix for one in path.iterdir())


def _fill(folder: Path, files: Mapping[str, Path | str], facts: Mapping[str, Any]) -> list[str]:
    for name, content in files.items():
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            with replacing(folder / name) as part:  # a copy, since a second name of a file would change with it
                shutil.copyfile(content, part)
    write_json(folder / LIST, {**facts, "files": {name: hash_file(folder / name) for name in files}})
    return [*files, LIST]


def _listed(folder: Path, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of the files that this wrote into a folder for the same facts, by name; of none for others."""
    try:
        listed = as_type(dict[str, Any], read_json(folder / LIST))
        files = as_type(dict[str, str], listed.pop("files"))
    except (OSError, ValueError, KeyError):
        return {}
    return files if listed == facts else {}


def _as_written(path: Path, listed: Mapping[str, str]) -> bool:
    if path.name == LIST:
        return bool(listed)
    return path.name in listed and not path.is_symlink() and path.is_file() and hash_file(path) == listed[path.name]
