"""`wakeword verify`: whether a model file is unaltered, this home's, and what would be built now."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from wakeword_core.errors import WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.verification import GOOD, Verification, verify
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.text import printable
from wakeword_pipeline.cli.tables import print_states
from wakeword_pipeline.orchestration.home import ProjectOptions, config_path

_STYLES = {"current": "green", "matches": "green", "whole": "green", "outdated": "yellow", "unsealed": "yellow"}


def verify_model(model: Path, options: ProjectOptions, *, as_json: bool) -> None:
    """Print the verdict; exit status 1 unless the model is unaltered and, where that can be told, current."""
    project, reason = _project(options)
    verification = verify(model, ArtifactStore(options.home / "store"), project)
    if as_json:
        print(json.dumps(_tree(verification, reason)))
    else:
        _print(verification, reason)
    if verification.verdict not in GOOD:
        sys.exit(1)


def _project(options: ProjectOptions) -> tuple[Project | None, str]:
    """Open the project to compare with, or say why there is none; a configuration that is named must be there."""
    if options.given_config is not None or options.settings:
        return replace(options, given_config=config_path(options.given_config)).project(), ""
    if not (options.home / "store").is_dir():
        return None, f"there is no home at {options.home}"
    try:
        return options.project(), ""
    except WakewordError as error:
        return None, str(error)


def _tree(verification: Verification, reason: str) -> dict[str, object]:
    return {
        "verdict": verification.verdict,
        "sentence": verification.sentence,
        "not_compared_because": reason or None,
        "path": str(verification.file.path),
        "sha256": verification.file.sha256,
        "seal": verification.file.seal,
        "phrase": verification.file.card.get("phrase"),
        "stage": verification.artifact.stage if verification.artifact else None,
        "key": verification.artifact.key if verification.artifact else None,
        "outdated": [
            {"asset": state.name, "because": state.because, "causes": [asdict(cause) for cause in state.causes]}
            for state in verification.outdated
        ],
    }


def _print(verification: Verification, reason: str) -> None:
    console = Console(highlight=False)
    console.print(
        Text.assemble(
            (verification.verdict, f"bold {_STYLES.get(verification.verdict, 'red')}"),
            f": {printable(verification.sentence)}",
        )
    )
    console.print(
        Text(printable(f"{verification.file.path}  “{verification.file.card.get('phrase')}”"), "dim"), soft_wrap=True
    )
    if verification.outdated:
        console.print()
        print_states(console, verification.outdated)
    if verification.artifact and reason:
        console.print(Text(printable(f"Whether it is still what would be built is not known: {reason}"), "dim"))
