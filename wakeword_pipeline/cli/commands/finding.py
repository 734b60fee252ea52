"""`wakeword lr-find` and `wakeword batch-find`: try a training on built features, for a setting of it."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.graph.project import Project
from wakeword_core.lineage.given import GivenModel
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


def _given(project: Project) -> tuple[Path, dict[str, Artifact], dict[str, GivenModel]]:
    """Return the features that a training would learn from, its other inputs, and the models that it is given."""
    stage = project.stages["trained_model"]
    features = project.require("mel_features", "train").path
    needed = (source.stage for source in project.deciding_inputs(stage) if source.split is None)
    return features, {name: project.require(name) for name in needed}, project.models.given_to(stage)


def _find(project: Project, rates: tuple[float, float, int], out: Path | None, *, as_json: bool) -> None:
    config = project.config
    schedule, share = config.training.schedule, config.training.start_share
    features, inputs, models = _given(project)
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


def find_batch_size(options: ProjectOptions, *, as_json: bool) -> None:
    """Try batches that double on a project's features until one does not fit in memory, and print what they took.

    Raises ArtifactError when the features are not built.
    """
    project = options.project()
    with project.store.in_use():
        features, inputs, models = _given(project)
        from wakeword_core.features.store import open_windows
        from wakeword_core.graph.stages.training import beginning
        from wakeword_core.training.batch_finder import find_batch

        with Bars() as progress:
            normalised_by, start, teacher = beginning(project.config, inputs, models)
            found = find_batch(open_windows(features), normalised_by, project.config, progress, start, teacher)
    table = Table(title="\nbatches", title_justify="left")
    for column in ("windows", "memory (GB)", "windows a second"):
        table.add_column(column, justify="right")
    for trial in found.trials:
        table.add_row(f"{trial.batch_size:,}", f"{trial.memory_gb:.2f}", f"{trial.windows_per_second:,.0f}")
    Console().print(table)
    print(found.end)
    print(f"the largest that fits: --set training.sampling.batch_size={found.largest}")
    if as_json:
        print(json.dumps({"largest": found.largest, "end": found.end, "tried": [asdict(one) for one in found.trials]}))
