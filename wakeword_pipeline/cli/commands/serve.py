"""The command that serves a model."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import MissingDependencyError
from wakeword_core.registry.history import delivered_bundle
from wakeword_pipeline.orchestration.home import CONFIG_VARIABLE, config_of, config_path, home_path


def serve_model(
    model: Path | None, judge: Path | None, config: Path | None, home: Path | None, settings: Sequence[str]
) -> None:
    """Serve a model, or the champion of a home, until SIGINT or SIGTERM."""
    place = home_path(home)
    loaded = _configuration(config, place, settings, model=model is not None)
    chosen, path = loaded.serving, model or delivered_bundle(place, loaded).path
    try:
        from wakeword_core.serving.server import serve
        from wakeword_core.serving.service import Service
    except ImportError as error:
        raise MissingDependencyError(f"serving needs {error.name}: pip install 'wakeword[serve]'") from error
    service = Service(chosen, path, judge or chosen.cascade.judge)

    def announce(address: str) -> None:
        what = f"{service.model_answer.phrase!r} ({service.model_answer.key})"
        print(f"serving {what} on {address}; stop with Ctrl-C", file=sys.stderr, flush=True)

    serve(service, announce, place / "cache")


def _configuration(path: Path | None, home: Path, overrides: Sequence[str], *, model: bool) -> Config:
    """The one named, which must be there; else the home's for its champion, or what is here for a model."""
    file = config_path(path) if model else config_of(home, path)
    if path is None and not os.environ.get(CONFIG_VARIABLE) and not file.is_file():
        return load_config(None, overrides)
    return load_config(file, overrides)
