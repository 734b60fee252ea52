"""The command that looks for a learning rate."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import config_path, home_path

_FOLDER = "lr_find"


def find_learning_rate(
    config: Path | None,
    home: Path | None,
    settings: Sequence[str],
    rates: tuple[float, float, int],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run a range test at `rates` (lowest, highest, batches) on a project's features, draw it, and print what it says.

    Raises ArtifactError when the features are not built.
    """
    project = Project(load_config(config_path(config), settings), home_path(home))
    with project.store.in_use():
        _find(project, rates, out, as_json=as_json)


def _find(project: Project, rates: tuple[float, float, int], out: Path | None, *, as_json: bool) -> None:
    loaded = project.config
    features = project.require("mel_features", "train").path
    statistics = project.require("cmvn_stats").file("cmvn.json")
    # torch loads in seconds: only now, when there is something to learn from
    from wakeword_core.evaluation.measure.plots import rate_curve
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import load_windows
    from wakeword_core.files import replacing
    from wakeword_core.training.lr_finder import Rates, find_rate

    chosen = Rates(*rates)
    with Bars() as progress:
        found = find_rate(load_windows(features), Cmvn.load(statistics), loaded, chosen, progress)
    marks = {"suggested": found.suggestion, "steepest descent": found.steepest, "lowest loss": found.lowest}
    picture = out or project.home / _FOLDER / f"{loaded.slug}.png"
    with replacing(picture) as part:
        part.write_bytes(rate_curve(found.rates, found.losses, found.smoothed, marks))
    marks["set in training.schedule.learning_rate"] = loaded.training.schedule.learning_rate
    table = Table(title="\nlearning rates", title_justify="left")
    for column in ("", "rate", "loss"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rate in sorted(marks.items(), key=lambda mark: mark[1]):
        table.add_row(escape(name), f"{rate:.2g}", f"{found.loss_at(rate):.3f}")
    Console().print(table)
    end = f"ended at {found.rates[-1]:.2g}, where the loss ran away" if found.diverged else "the loss never ran away"
    print(f"{len(found.rates)} batches; {found.too_narrow or end}")
    print(f"suggestion: --set training.schedule.learning_rate={found.suggestion:.2g}")
    print(f"picture: {picture}")
    if as_json:
        figures = {"suggestion": found.suggestion, "steepest": found.steepest, "lowest": found.lowest}
        print(json.dumps({**figures, "diverged": found.diverged, "batches": len(found.rates), "picture": str(picture)}))
