"""A search as a job of Dagster: its log tells each trial, and its step shows what was found."""

from typing import Any

import dagster as dg

from wakeword_core.text import markdown
from wakeword_pipeline.orchestration.assets import failures_in_words
from wakeword_pipeline.orchestration.home import gpu_slot
from wakeword_pipeline.orchestration.metadata import figures_metadata, picture_metadata
from wakeword_pipeline.orchestration.resources import ProjectResource
from wakeword_pipeline.search.results import PICTURE, Found, Row, configuration
from wakeword_pipeline.search.trials import folder_of, search


@dg.op
def try_settings(context: dg.OpExecutionContext, project: dg.ResourceParam[ProjectResource]) -> None:
    """Make the trials that the search of the configuration lacks."""
    with failures_in_words():
        opened = project.open()
        found = search(opened, lambda: gpu_slot(opened.home))
    folder = folder_of(opened.home, found.name)
    shown: dict[str, Any] = {"search": found.name, "trials": len(found.rows)}
    if found.best:
        shown["best_configuration"] = dg.MetadataValue.path(configuration(folder, found.best.number))
        shown["picture"] = picture_metadata((folder / PICTURE).read_bytes(), "trials of the search")
        shown |= figures_metadata({"best_trials": [_cells(row) for row in found.front], **_best(found)})
    context.add_output_metadata(shown)


def _best(found: Found) -> dict[str, float]:
    """Return the figures of the best trial, which Dagster plots over the runs."""
    return {f"best_{name}": figure for name, figure in found.best.figures.items()} if found.best else {}


def _cells(row: Row) -> dict[str, Any]:
    values = {name: value if isinstance(value, int | float) else markdown(value) for name, value in row.values.items()}
    return {"trial": row.number, **row.figures, **values}


@dg.job(name="search", description="Tries the settings of search.space, as `wakeword search` does.")
def search_job() -> None:
    """Run the one step of a search."""
    try_settings()
