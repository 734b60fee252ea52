"""`wakeword lr-find`: look for a learning rate."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.graph.project import Project
from wakeword_core.store.artifacts import Artifact
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import ProjectOptions


def find_learning_rate(
    options: ProjectOptions, rates: tuple[float, float, int], out: Path | None, *, as_json: bool
) -> None:
    """Run a range test at `rates` (lowest, highest, batches) on a project's features, draw it, and print its result.

    Raises ArtifactError when the features are not built.
    """
    project = options.project()
    with project.store.in_use():
        _find(project, rates, out, as_json=as_json)


def _find(project: Project, rates: tuple[float, float, int], out: Path | None, *, as_json: bool) -> None:
    config = project.config
    stage, schedule, share = project.stages["trained_model"], config.training.schedule, config.training.start_share
    features = project.require("mel_features", "train").path
    inputs: dict[str, Artifact] = {
        source.stage: project.require(source.stage) for source in project.deciding_inputs(stage) if source.split is None
    }
    models = project.models.given_to(stage)
    # torch loads in seconds: only now, when there is something to learn from
    from wakeword_core.evaluation.measure.plots import rate_curve
    from wakeword_core.features.store import open_windows
    from wakeword_core.files import replacing
    from wakeword_core.graph.stages.training import beginning
    from wakeword_core.training.lr_finder import Rates, find_rate

    with Bars() as progress:
        normalised_by, start, teacher = beginning(config, inputs, models)
        result = find_rate(open_windows(features), normalised_by, config, Rates(*rates), progress, start, teacher)
    suggestion = result.suggestion / share
    marks = {"suggested": result.suggestion, "steepest descent": result.steepest, "lowest loss": result.lowest}
    picture = out or project.home / "lr_find" / f"{config.unique_name}.png"
    with replacing(picture) as part:
        part.write_bytes(rate_curve(result.rates, result.losses, result.smoothed, marks))
    if schedule.learning_rate != "auto":
        marks["set in training.schedule.learning_rate"] = schedule.peak * share
    table = Table(title="\nlearning rates", title_justify="left")
    for column in ("", "rate", "loss"):
        table.add_column(column, justify="left" if not column else "right")
    for name, rate in sorted(marks.items(), key=lambda mark: mark[1]):
        table.add_row(Text(name), f"{rate:.2g}", f"{result.loss_at(rate):.3f}")
    Console().print(table)
    end = f"ended at {result.rates[-1]:.2g}, where the loss ran away" if result.diverged else "the loss never ran away"
    print(f"{len(result.rates)} batches; {result.too_narrow or end}")
    print(f"suggestion: --set training.schedule.learning_rate={suggestion:.2g}")
    print(printable(f"picture: {picture}"))
    if as_json:
        figures = {
            "suggestion": suggestion,
            "steepest": result.steepest,
            "lowest": result.lowest,
            "diverged": result.diverged,
            "batches": len(result.rates),
            "picture": str(picture),
        }
        print(json.dumps(figures))
