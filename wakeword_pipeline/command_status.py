"""The command that tells where each artifact stands, and why."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import State, status
from wakeword_pipeline.home import config_of, home_path

STYLES = {"fresh": "green", "stale": "yellow", "waits": "yellow dim", "missing": "red"}
SIGNS = {"fresh": "●", "stale": "◐", "waits": "◌", "missing": "○"}
_COUNTED = {"waits": "waiting for them"}
KEY_SHOWN = 10
"""Characters of a key that are shown: enough to tell artifacts apart, and to ask for one."""
_INDENT = 4


def show_status(config: Path | None, home: Path | None, settings: Sequence[str], *, as_json: bool) -> None:
    """Print each asset's state."""
    folder = home_path(home)
    path = config_of(folder, config)
    loaded = load_config(path, settings)
    states = status(Project(loaded, folder))
    if as_json:
        print(json.dumps([_row(state) for state in states]))
        return
    counts = Counter(_shown_state(state) for state in states)
    told = ", ".join(
        f"[{style}]{counts[name]} {_COUNTED.get(name, name)}[/]" for name, style in STYLES.items() if counts[name]
    )
    console = Console(highlight=False)
    console.print(f"[bold]{loaded.phrase}[/]  {path.name} on {folder}: {told}\n", soft_wrap=True)
    print_states(console, states)
    if counts.keys() - {"fresh"}:
        console.print("\n[dim]wakeword run[/] builds what is stale or missing, and nothing else.", soft_wrap=True)


def print_states(console: Console, states: Sequence[State]) -> None:
    """A line for each artifact, and below it why it is not fresh."""
    width = max((len(state.name) for state in states), default=0)
    for state in states:
        found, shown = state.artifact, _shown_state(state)
        line = Text.assemble(
            (f"{SIGNS[shown]} {shown:<8}", STYLES[shown]),
            (f"{state.name:<{width}}  ", "bold" if state.state != "fresh" else ""),
            (f"{found.key[:KEY_SHOWN]}  {found.created[:16].replace('T', ' ')}" if found else "", "dim"),
            (f"  for {state.waits}" if state.waits else "", "dim"),
        )
        console.print(line, no_wrap=True, overflow="ellipsis")
        for cause in () if state.waits else state.causes:
            style = "dim" if cause.kind == "waits" else ""
            console.print(Padding(Text(cause.sentence, style), (0, 0, 0, _INDENT), expand=False))


def _shown_state(state: State) -> str:
    """As `state`, but one that only waits for another says so."""
    return "waits" if state.waits else state.state


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
