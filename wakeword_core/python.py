"""Starts Python so that it never runs what lies in the working directory."""

import os
import sys

SAFE_PATH = "PYTHONSAFEPATH"
"""A variable that Python reads, and hands on to what it starts."""


def python_command(*arguments: str) -> list[str]:
    """Return a command line of this Python, whose modules do not come from the working directory.

    Otherwise `python -m` and `-c` look there first: a file `torch.py` among somebody's recordings would be run.
    """
    return [sys.executable, "-P", *arguments]


def keep_path_safe() -> None:
    """Have every Python that this process starts, in whatever way, leave the working directory out."""
    os.environ[SAFE_PATH] = "1"
