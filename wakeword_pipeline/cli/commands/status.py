"""`wakeword status`: where each artifact stands, and why."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from wakeword_core.graph.stage import Judgement
from wakeword_core.graph.status import State, status
from wakeword_core.text import printable
from wakeword_pipeline.cli.failures import failures_json, failures_of
from wakeword_pipeline.cli.tables import STYLES, print_states, state_word
from wakeword_pipeline.orchestration.home import ProjectOptions

_COUNTED = {"waits": "waiting for them"}


def show_status(options: ProjectOptions, *, as_json: bool) -> None:
    """Print the state of each asset."""
    project = options.project()
    states = status(project)
    failures = failures_of(project)
    if as_json:
        print(json.dumps([_row(state, failures) for state in states]))
        return
    counts = Counter(map(state_word, states))
    summary = Text(", ").join(
        Text(f"{counts[word]} {_COUNTED.get(word, word)}", style) for word, style in STYLES.items() if counts[word]
    )
    console = Console(highlight=False)
    where = printable(f"  {options.config.name} on {project.home}: ")
    console.print(Text.assemble((project.config.phrase, "bold"), where, summary, "\n"), soft_wrap=True)
    print_states(console, states, failures)
    if counts.keys() - {"fresh"}:
        console.print("\n[dim]wakeword run[/] builds what is stale or missing, and nothing else.", soft_wrap=True)


def _row(state: State, failures: Mapping[str, Sequence[Judgement]]) -> dict[str, object]:
    artifact = state.artifact
    return {
        "asset": state.name,
        "state": state.state,
        "because": state.because,
        "causes": [asdict(cause) for cause in state.causes],
        "failed_checks": failures_json({state.name: failures.get(state.name, ())}),
        "key": artifact.key if artifact else None,
        "created": artifact.created if artifact else None,
        "path": str(artifact.path) if artifact else None,
    }
