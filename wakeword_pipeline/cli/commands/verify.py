"""The command that holds a model file against its own digests, a home, and what the home would build now."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wakeword_core.config.loading import load_config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.verification import GOOD, Verification, verify
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_pipeline.cli.tables import print_states
from wakeword_pipeline.orchestration.home import config_of, config_path, home_path

_STYLES = {"current": "green", "matches": "green", "whole": "green", "outdated": "yellow", "unsealed": "yellow"}


def verify_model(
    model: Path, config: Path | None, home: Path | None, settings: Sequence[str], *, as_json: bool
) -> None:
    """Print the verdict; exit status 1 unless the model is unaltered and, where that can be told, current."""
    folder = home_path(home)
    project, reason = _project(folder, config, settings)
    found = verify(model, ArtifactStore(folder / "store"), project)
    if as_json:
        print(json.dumps(_tree(found, reason)))
    else:
        _print(found, reason)
    if found.verdict not in GOOD:
        sys.exit(1)


def _project(folder: Path, config: Path | None, settings: Sequence[str]) -> tuple[Project | None, str]:
    """The project to hold the model against, or why there is none; a configuration that was named must be there."""
    if config is not None or settings:
        return Project(load_config(config_path(config), settings), folder), ""
    if not (folder / "store").is_dir():
        return None, f"there is no home at {folder}"
    try:
        return Project(load_config(config_of(folder, None)), folder), ""
    except WakewordError as error:
        return None, str(error)


def _tree(found: Verification, reason: str) -> dict[str, object]:
    return {
        "verdict": found.verdict,
        "sentence": found.sentence,
        "not_compared_because": reason or None,
        "path": str(found.file.path),
        "sha256": found.file.sha256,
        "seal": found.file.seal,
        "phrase": found.file.card.get("phrase"),
        "stage": found.artifact.stage if found.artifact else None,
        "key": found.artifact.key if found.artifact else None,
        "outdated": [
            {"asset": one.name, "because": one.because, "causes": [asdict(cause) for cause in one.causes]}
            for one in found.outdated
        ],
    }


def _print(found: Verification, reason: str) -> None:
    console = Console(highlight=False)
    console.print(Text.assemble((found.verdict, f"bold {_STYLES.get(found.verdict, 'red')}"), f": {found.sentence}"))
    console.print(Text(f"{found.file.path}  “{found.file.card.get('phrase')}”", "dim"), soft_wrap=True)
    if found.outdated:
        console.print()
        print_states(console, found.outdated)
    if found.artifact and reason:
        console.print(Text(f"Whether it is still what would be built is not known: {reason}", "dim"))
