"""Folders that a server's owner bounds everything to, whatever a configuration or Dagster's launchpad names."""

import os
from pathlib import Path

from wakeword_core.errors import ConfigError
from wakeword_core.files import inside

DATA_ROOTS = "WAKEWORD_DATA_ROOTS"
"""Environment variable of absolute folders, separated as in PATH; without it there is no bound."""


def check_in_data_roots(path: Path, what: str) -> None:
    """Raise ConfigError when a path, its links resolved, lies in none of the folders that WAKEWORD_DATA_ROOTS names."""
    given = os.environ.get(DATA_ROOTS, "")
    if not given:
        return
    roots = [root for root in given.split(os.pathsep) if root.strip()]
    if not roots or not all(map(os.path.isabs, roots)):
        raise ConfigError(f"{DATA_ROOTS} is {given!r}, but must hold absolute folders, separated by {os.pathsep!r}")
    if not inside(path, map(os.path.realpath, roots)):
        raise ConfigError(
            f"{what} {path} lies outside of {' and '.join(roots)}, beyond which {DATA_ROOTS} allows nothing here"
        )
