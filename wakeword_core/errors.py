"""Errors that are meant for a person: one sentence that says what is wrong, where, and what to do."""

import re
import shlex
import sys
from pathlib import Path


class WakewordError(Exception):
    """Base of every error this project raises for its user; the command line prints it as one line and exits 1."""


class ConfigError(WakewordError):
    """A wrong setting: names the field, the value and what is allowed; the command line exits 2."""


class DataError(WakewordError):
    """Recordings or derived files that cannot be used as they are."""


class ArtifactError(WakewordError):
    """A stored artifact that is missing, incomplete or damaged."""


class MissingDependencyError(WakewordError):
    """An optional package or system library that a feature needs is not installed."""


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
