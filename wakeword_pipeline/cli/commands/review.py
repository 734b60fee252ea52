"""`wakeword review`: a page on which people listen to what was kept, and label it."""

import getpass
import sys
from pathlib import Path

from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.text import printable


def review_captures(
    folder: Path, model: Path | None, *, speaker: str, licence: str, reviewer: str | None, host: str, port: int
) -> None:
    """Serve the page of a folder of captures until SIGINT or SIGTERM."""
    from wakeword_core.runtime.live import open_model

    try:
        from wakeword_core.reviewing.app import Defaults
        from wakeword_core.reviewing.captured_sound import CapturedSound
        from wakeword_core.reviewing.server import serve_review
    except ImportError as error:
        raise MissingDependencyError(f"reviewing needs {error.name}: {install_command('serve')}") from error

    def announce(address: str) -> None:
        print(printable(f"{folder} is reviewed on {address}; stop with Ctrl-C"), file=sys.stderr, flush=True)

    captured = CapturedSound(folder, None if model is None else open_model(model))
    defaults = Defaults(_user() if reviewer is None else reviewer, speaker, licence)
    serve_review(captured, defaults, host, port, announce)


def _user() -> str:
    """The name of the user, or nothing where the system knows none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
