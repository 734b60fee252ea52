"""The resource that gives assets their project: a configuration and a home."""

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES
from wakeword_core.progress import ProgressLines
from wakeword_pipeline.home_log import log_to_home
from wakeword_pipeline.orchestration.home import home_path, require_own

current_build: ContextVar[Project | None] = ContextVar("current_build", default=None)
"""The project that this process builds, to whose progress stages report; without one, progress is logged."""


class ProjectResource(dg.ConfigurableResource):
    """A project: its configuration file, single settings that override it, and the home that holds all results."""

    config_path: str = Field(description="The configuration file.")
    home: str = Field(description="Folder of all results.")
    overrides: list[str] = Field(
        default=[], description="Settings that this run changes, such as training.schedule.epochs=30."
    )
    fingerprint: str = Field(
        default="", description="Fingerprint of the recordings that a running build is of; empty: as they are now."
    )

    def open(self, on_epoch: Callable[[Any], None] = lambda record: None) -> Project:
        """Open the project with its configuration as it is now."""
        from wakeword_core.config.loading import load_config

        build, home = current_build.get(), home_path(Path(self.home))
        require_own(home)
        log_to_home(home)
        return Project(
            load_config(Path(self.config_path) if self.config_path else None, self.overrides),
            home,
            build.progress if build else ProgressLines(),
            on_epoch,
            pinned_fingerprint=self.fingerprint,
            graph=build.graph if build else STAGES,
        )
