"""`wakeword serve`: answer over HTTP and WebSockets."""

import os
import sys
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.registry.history import delivered_bundle
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import CONFIG_VARIABLE, ProjectOptions, config_path, require_own


def serve_model(model: Path | None, judge: Path | None, options: ProjectOptions) -> None:
    """Serve a model, or the champion of a home, until SIGINT or SIGTERM."""
    require_own(options.home)  # the page's files are kept in its cache
    config = _configuration(options, model=model is not None)
    serving, path = config.serving, model or delivered_bundle(options.home, config).path
    try:
        from wakeword_core.serving.server import serve
        from wakeword_core.serving.service import Service
    except ImportError as error:
        raise MissingDependencyError(f"serving needs {error.name}: {install_command('serve')}") from error
    service = Service(serving, path, judge or serving.cascade.judge)

    def announce(address: str) -> None:
        what = f"{service.model_answer.phrase!r} ({service.model_answer.key})"
        print(printable(f"serving {what} on {address}; stop with Ctrl-C"), file=sys.stderr, flush=True)

    serve(service, announce, options.home / "cache")


def _configuration(options: ProjectOptions, *, model: bool) -> Config:
    """Load the configuration that is named, else the home's for its champion, or the one in this folder for a model."""
    given = options.given_config
    path = config_path(given) if model else options.config
    if given is None and not os.environ.get(CONFIG_VARIABLE) and not path.is_file():
        return load_config(None, options.settings)
    return load_config(path, options.settings)
