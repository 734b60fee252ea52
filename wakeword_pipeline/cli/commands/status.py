"""The command that tells where each artifact stands, and why."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import State, status
from wakeword_pipeline.cli.tables import STYLES, print_states, shown_state
from wakeword_pipeline.orchestration.home import config_of, home_path

_COUNTED = {"waits": "waiting for them"}


def show_status(config: Path | None, home: Path | None, settings: Sequence[str], *, as_json: bool) -> None:
    """Print each asset's state."""
    folder = home_path(home)
    path = config_of(folder, config)
    loaded = load_config(path, settings)
    states = status(Project(loaded, folder))
    if as_json:
        print(json.dumps([_row(state) for state in states]))
        return
    counts = Counter(shown_state(state) for state in states)
    told = ", ".join(
        f"[{style}]{counts[name]} {_COUNTED.get(name, name)}[/]" for name, style in STYLES.items() if counts[name]
    )
    console = Console(highlight=False)
    console.print(f"[bold]{loaded.phrase}[/]  {path.name} on {folder}: {told}\n", soft_wrap=True)
    print_states(console, states)
    if counts.keys() - {"fresh"}:
        console.print("\n[dim]wakeword run[/] builds what is stale or missing, and nothing else.", soft_wrap=True)


def _row(state: State) -> dict[str, object]:
    found = state.artifact
    return {
        "asset": state.name,
        "state": state.state,
        "because": state.because,
        "causes": [asdict(cause) for cause in state.causes],
        "key": found.key if found else None,
        "created": found.created if found else None,
        "path": str(found.path) if found else None,
    }
