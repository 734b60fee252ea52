"""`wakeword status`: where each artifact stands, and why."""

import json
from collections import Counter
from dataclasses import asdict

from rich.console import Console

from wakeword_core.graph.status import State, status
from wakeword_pipeline.cli.tables import STYLES, print_states, state_word
from wakeword_pipeline.orchestration.home import ProjectOptions

_COUNTED = {"waits": "waiting for them"}


def show_status(options: ProjectOptions, *, as_json: bool) -> None:
    """Print the state of each asset."""
    project = options.project()
    states = status(project)
    if as_json:
        print(json.dumps([_row(state) for state in states]))
        return
    counts = Counter(map(state_word, states))
    summary = ", ".join(
        f"[{style}]{counts[word]} {_COUNTED.get(word, word)}[/]" for word, style in STYLES.items() if counts[word]
    )
    console = Console(highlight=False)
    phrase = project.config.phrase
    console.print(f"[bold]{phrase}[/]  {options.config.name} on {project.home}: {summary}\n", soft_wrap=True)
    print_states(console, states)
    if counts.keys() - {"fresh"}:
        console.print("\n[dim]wakeword run[/] builds what is stale or missing, and nothing else.", soft_wrap=True)


def _row(state: State) -> dict[str, object]:
    artifact = state.artifact
    return {
        "asset": state.name,
        "state": state.state,
        "because": state.because,
        "causes": [asdict(cause) for cause in state.causes],
        "key": artifact.key if artifact else None,
        "created": artifact.created if artifact else None,
        "path": str(artifact.path) if artifact else None,
    }
