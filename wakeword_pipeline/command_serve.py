"""The command that serves a model."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wakeword_core.config import ServingConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, MissingDependencyError
from wakeword_core.export.bundle import STAGE
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_pipeline.home import CONFIG_VARIABLE, config_path, home_path


def serve_model(
    model: Path | None, judge: Path | None, config: Path | None, home: Path | None, settings: Sequence[str]
) -> None:
    """Serve a model, or the newest bundle of a home, until SIGINT or SIGTERM."""
    chosen = _settings(config, settings)
    place = home_path(home)
    path = model or newest_bundle(place)
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


def newest_bundle(home: Path) -> Path:
    """The model bundle that was built last in a home; ArtifactError if there is none."""
    bundles = ArtifactStore(home / "store").all(STAGE)
    if not bundles:
        raise ArtifactError(f"there is no model bundle in {home}; name a model, or build one with wakeword run")
    return bundles[-1].path


def _settings(path: Path | None, overrides: Sequence[str]) -> ServingConfig:
    """Those of the configuration, which must be there if it was named; a model needs none."""
    file = config_path(path)
    if path is None and not os.environ.get(CONFIG_VARIABLE) and not file.is_file():
        return load_config(None, overrides).serving
    return load_config(file, overrides).serving
