"""This Python: started so that it runs nothing of the working directory; what is installed, and what installs more.

By itself `python -m` and `-c` look there first: a file `torch.py` among somebody's recordings would be run.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext


def python_command(*arguments: str) -> list[str]:
    """Return a command line of this Python, to which the working directory is no place for modules."""
    return [sys.executable, "-P", *arguments]


def fresh_processes() -> "SpawnContext":
    """Return the way to start processes of multiprocessing that begin anew and share nothing with this one."""
    import multiprocessing

    keep_path_safe()
    return multiprocessing.get_context("spawn")


def forked_processes(modules: Sequence[str]) -> "ForkServerContext":
    """Return the way to start processes that are forked from a fresh one, in which these modules were imported."""
    import multiprocessing

    keep_path_safe()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context


def keep_path_safe() -> None:
    """Have every Python that this process starts, in whatever way, leave the working directory out."""
    os.environ["PYTHONSAFEPATH"] = "1"


def install_command(*extras: str) -> str:
    """Return the command that adds extras of this project to this Python, however the project was installed.

    It names no package `wakeword`, which in a registry may be somebody else's.
    """
    from importlib import metadata

    root = Path(__file__).parents[1]
    if (root / "pyproject.toml").is_file():
        packages = ["-e", f"{root}[{','.join(extras)}]"]
    else:
        asked = [text.partition(";") for text in metadata.requires("wakeword") or ()]
        wanted = {f"extra == '{extra}'" for extra in extras}
        packages = [name.strip() for name, _, marker in asked if re.sub('"', "'", marker).strip() in wanted]
    return shlex.join([sys.executable, "-m", "pip", "install", *packages])


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of the packages that are installed, as they were when this process first asked."""
    return {name: version for name in names if (version := _version(name))}


@cache
def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
