"""`wakeword serve`: answer over HTTP and WebSockets, and clients of the Wyoming protocol."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.registry.history import delivered_bundle
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import CONFIG_VARIABLE, ProjectOptions, config_path, require_own


def serve_model(models: Sequence[Path], judge: Path | None, options: ProjectOptions) -> None:
    """Serve models, or the champion of a home, until SIGINT or SIGTERM; over HTTP the first one only."""
    require_own(options.home)  # the page's files are kept in its cache
    config = _configuration(options, model=bool(models))
    serving = config.serving
    if len(models) > 1 and serving.wyoming is None:
        raise ConfigError(f"{len(models)} models were given, but HTTP serves one: give one, or --wyoming for all")
    if models and serving.follow_champion:
        raise ConfigError(
            f"--follow-champion serves the champion of the home, but {models[0]} was given; give no model"
        )
    first, *others = models or (delivered_bundle(options.home, config).path,)
    try:
        from wakeword_core.serving.following import Follower
        from wakeword_core.serving.server import serve
        from wakeword_core.serving.service import Service
    except ImportError as error:
        extras = ("serve", "wyoming") if serving.wyoming else ("serve",)
        raise MissingDependencyError(f"serving needs {error.name}: {install_command(*extras)}") from error

    def announce(what: str) -> None:
        print(printable(f"serving {what}; stop with Ctrl-C"), file=sys.stderr, flush=True)

    service = Service(serving, first, judge or serving.cascade.judge, others)
    beside = [Follower(service, options.home, config).following()] if serving.follow_champion else []
    serve(service, announce, options.home / "cache", beside)


def _configuration(options: ProjectOptions, *, model: bool) -> Config:
    """Load the configuration that is named, else the home's for its champion, or the one in this folder for a model."""
    given = options.given_config
    path = config_path(given) if model else options.config
    if given is None and not os.environ.get(CONFIG_VARIABLE) and not path.is_file():
        return load_config(None, options.settings)
    return load_config(path, options.settings)
