"""What assets are given: the project (configuration and home) and the MLflow store."""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES
from wakeword_core.progress import ProgressLines

current_build: ContextVar[Project | None] = ContextVar("current_build", default=None)
"""The project that this process builds: stages report to its progress. A run that the UI started writes log lines."""


class ProjectResource(dg.ConfigurableResource):
    """A project: its configuration file, single settings over it, and the home that holds all results."""

    config_path: str = Field(description="The configuration file.")
    home: str = Field(description="Folder of all results.")
    overrides: list[str] = Field(
        default=[], description="Settings of this run over the file's, as training.schedule.epochs=30."
    )
    fingerprint: str = Field(
        default="", description="Content of the recordings that a running build is about; empty: as they are now."
    )

    def open(self, on_epoch: Callable[[Any], None] = lambda record: None) -> Project:
        """Open the project as it is configured now."""
        from wakeword_core.config.loading import load_config

        build = current_build.get()
        return Project(
            load_config(Path(self.config_path) if self.config_path else None, self.overrides),
            Path(self.home),
            build.progress if build else ProgressLines(),
            on_epoch,
            pinned_fingerprint=self.fingerprint,
            graph=build.graph if build else STAGES,
        )
