"""`wakeword review`: a page on which people listen to what was kept, or to doubtful recordings, and label it."""

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions

if TYPE_CHECKING:
    from wakeword_core.reviewing.captured_sound import Reviewed


@dataclass(frozen=True)
class ReviewRequest:
    """What is reviewed (a folder of captures, or what a report doubts), by whom, and where the page is served."""

    folder: Path | None
    doubtful: bool
    model: Path | None
    speaker: str
    licence: str
    reviewer: str | None
    host: str
    port: int


def review(request: ReviewRequest, options: ProjectOptions) -> None:
    """Serve the page until SIGINT or SIGTERM; ConfigError for an unclear request."""
    if request.doubtful == (request.folder is not None):
        raise ConfigError("name either the folder that was given to --keep, or --doubtful")
    if request.doubtful and (request.speaker or request.licence):
        raise ConfigError("--speaker and --licence are of captures; with --doubtful they stay what the source says")
    from wakeword_core.recordings.opinions import one_line

    try:
        from wakeword_core.reviewing.app import Defaults
        from wakeword_core.reviewing.server import serve_review
    except ImportError as error:
        raise MissingDependencyError(f"reviewing needs {error.name}: {install_command('serve')}") from error

    what = "What the report doubts" if request.doubtful else str(request.folder)

    def announce(address: str) -> None:
        print(printable(f"{what} is reviewed on {address}; stop with Ctrl-C"), file=sys.stderr, flush=True)

    reviewed = _doubtful(request.model, options) if request.folder is None else _captured(request.folder, request.model)
    given = {"speaker": request.speaker, "licence": request.licence, "reviewer": request.reviewer or ""}
    texts = {field: one_line(field, text) for field, text in given.items()}
    defaults = Defaults(**{**texts, **({"reviewer": _user()} if request.reviewer is None else {})})
    serve_review(reviewed, defaults, request.host, request.port, announce)


def _captured(folder: Path, model: Path | None) -> "Reviewed":
    from wakeword_core.reviewing.captured_sound import CapturedSound
    from wakeword_core.runtime.live import open_model

    return CapturedSound(folder, None if model is None else open_model(model))


def _doubtful(model: Path | None, options: ProjectOptions) -> "Reviewed":
    """Open what the newest report of the project doubts, with its model unless another is named."""
    from wakeword_core.graph.doubtful import doubtful_recordings, model_of, newest_report
    from wakeword_core.recordings.corrections import make_table
    from wakeword_core.reviewing.doubtful_sound import DoubtfulSound
    from wakeword_core.runtime.live import open_model

    project = options.project()
    table = project.config.data.corrections
    if table is None:
        raise ConfigError(
            "there is no table to write corrections to; name one in the configuration, such as data: {corrections: "
            "corrections.csv}"
        )
    report = newest_report(project)
    make_table(table)
    recordings = doubtful_recordings(project, report)
    if model is None and (exported := model_of(project, report)):
        model = exported.path
    words = project.config.labels[1:]
    return DoubtfulSound(recordings, words, table, project.home, None if model is None else open_model(model))


def _user() -> str:
    """The name of the user, or nothing where the system knows none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
