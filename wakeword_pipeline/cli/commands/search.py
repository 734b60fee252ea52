"""`wakeword search`: try settings, and show which are best."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.files import require_space
from wakeword_core.graph.search import MEASURES, dimensions
from wakeword_core.text import printable
from wakeword_pipeline.cli.commands.run import MIN_FREE_BYTES
from wakeword_pipeline.cli.logs import Bars, banner
from wakeword_pipeline.orchestration.home import ProjectOptions, gpu_slot, prepare_home
from wakeword_pipeline.search.results import PICTURE, Found, Row, configuration
from wakeword_pipeline.search.study import require_optuna

_MOST_ROWS = 20
"""Of a table; the JSON has all."""


def search_settings(options: ProjectOptions, *, as_json: bool) -> None:
    """Make the trials that a search lacks, and print the best of them with the configurations to build."""
    project = options.project()
    home = project.home
    require_optuna()
    dimensions(project)  # what is wrong with the space is said before there is a home
    # Dagster loads in seconds: only now, when the configuration is known to be right
    from wakeword_pipeline.search.trials import folder_of, search

    require_space(home, MIN_FREE_BYTES, "a search")
    prepare_home(home, options.config)
    banner(project.config, home)
    with Bars() as bars:
        project.progress = bars
        found = search(project, lambda: gpu_slot(home))
    folder = folder_of(home, found.name)
    _print(found, folder)
    if as_json:
        print(json.dumps(_result(found, folder)))


def _result(found: Found, folder: Path) -> dict[str, Any]:
    best = found.best
    return {
        "search": found.name,
        "objectives": found.objectives,
        "trials": [asdict(row) for row in found.rows],
        "best": best.number if best else None,
        "config": str(configuration(folder, best.number)) if best else None,
        "picture": str(folder / PICTURE) if best else None,
    }


def _print(found: Found, folder: Path) -> None:
    console = Console(highlight=False)
    finished = sorted((row for row in found.rows if row.figures), key=lambda row: tuple(row.figures.values()))
    shown = finished[:_MOST_ROWS]
    console.print(_table(found, [*shown, *(row for row in found.front if row not in shown)]))
    for row in found.rows:
        if row.state == "failed":
            console.print(Text(printable(f"trial {row.number} failed: {row.problem}"), "yellow"), soft_wrap=True)
    if found.best:
        console.print("* no other trial is as good in everything and better in something")
        build = f"wakeword run --config {shlex.quote(str(configuration(folder, found.best.number)))}"
        for name, place in (("picture", str(folder / PICTURE)), ("build it", build)):
            console.print(Text.assemble((f"{name:<10}", "bold"), printable(place)), soft_wrap=True)


def _table(found: Found, rows: Sequence[Row]) -> Table:
    counts = Counter(row.state for row in found.rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    table = Table(title=Text(f"\n{printable(found.name)}: {states}", "table.title"), title_justify="left")
    names = list(rows[0].values) if rows else []
    measures = [MEASURES[name] for name in found.objectives]
    for heading in ("trial", *(one.heading for one in measures), *_short(names)):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (one.shown(row.figures[name]) for name, one in zip(found.objectives, measures, strict=True))
        cells = (*figures, *(_text(row.values[name]) for name in names))
        table.add_row(f"{'* ' * row.best}{row.number}", *map(printable, cells), style="bold" if row.best else "")
    return table


def _short(names: Iterable[str]) -> list[str]:
    """Leave the groups out of the names of settings, but for names that are alike then."""
    names = list(names)
    last = Counter(name.rpartition(".")[2] for name in names)
    return [short if last[short := name.rpartition(".")[2]] == 1 else name for name in names]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
