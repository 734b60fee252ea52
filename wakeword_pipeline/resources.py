"""What assets are given: the project (configuration and home) and the MLflow store."""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from wakeword_core.graph.project import Project
from wakeword_core.progress import Progress
from wakeword_pipeline.logs import Bars

current_progress: ContextVar[Progress | None] = ContextVar("current_progress", default=None)
"""Where stages report to: the command line puts its bars here; a run that the UI started writes log lines."""


class ProjectResource(dg.ConfigurableResource):
    """A project: its configuration file, single settings over it, and the home that holds all results."""

    config_path: str = Field(description="The configuration file.")
    home: str = Field(description="Folder of all results.")
    overrides: list[str] = Field(
        [], description="Settings of this run over the file's, as training.schedule.epochs=30."
    )
    fingerprint: str = Field(
        "", description="Content of the recordings that a running build is about; empty: as they are now."
    )

    def open(self, on_epoch: Callable[[Any], None] = lambda record: None) -> Project:
        """The project as configured now."""
        from wakeword_core.config.loading import load_config

        config = load_config(Path(self.config_path) if self.config_path else None, self.overrides)
        progress = current_progress.get() or Bars(lines_only=True)
        return Project(
            config,
            Path(self.home),
            progress,
            on_epoch,
            pinned_fingerprint=self.fingerprint,
        )
