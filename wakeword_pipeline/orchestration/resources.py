"""The resource that gives assets their project: a configuration and a home."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES
from wakeword_core.progress import ProgressLines
from wakeword_pipeline.home_log import log_to_home
from wakeword_pipeline.orchestration.home import home_path, require_own
from wakeword_pipeline.orchestration.launchpad import given_settings, settings_schema

current_build: ContextVar[Project | None] = ContextVar("current_build", default=None)
"""The project that this process builds, to whose progress stages report; without one, progress is logged."""


@dataclass(frozen=True)
class ProjectResource:
    """A project: its configuration file, single settings that override it, and the home that holds all results."""

    config_path: str
    """The configuration file; empty: none, so that all settings are the defaults."""
    home: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What a run sets in place of the file, in the form of the launchpad."""
    fingerprint: str = ""
    """Fingerprint of the recordings that a running build is of; empty: as they are now."""
    champion: str | None = None
    """Champion that a running build starts from, empty for none; None: as it is now."""

    def definition(self) -> dg.ResourceDefinition:
        """Return this project as the launchpad shows it, in which a run is given another one or other settings."""
        schema = {
            "config_path": dg.Field(str, self.config_path, description="The configuration file."),
            "home": dg.Field(str, self.home, description="Folder of all results."),
            "settings": dg.Field(
                settings_schema(),
                dict(self.settings),
                description="Settings that this run changes, such as {training: {schedule: {epochs: 30}}}.",
            ),
            "fingerprint": dg.Field(
                str,
                self.fingerprint,
                description="Fingerprint of the recordings that a running build is of; empty: as they are now.",
            ),
            "champion": dg.Field(
                dg.Noneable(str),
                self.champion,
                is_required=False,
                description="Champion that a running build starts from, empty for none; null: as it is now.",
            ),
        }
        return dg.ResourceDefinition(
            lambda context: ProjectResource(**context.resource_config), schema, str(ProjectResource.__doc__)
        )

    def config(self) -> Config:
        """Load the configuration as it is now; ConfigError with one sentence where it is wrong."""
        path = Path(self.config_path) if self.config_path else None
        return load_config(path, given_settings(self.settings))

    def open(self, on_epoch: Callable[[Any], None] = lambda record: None) -> Project:
        """Open the project with its configuration as it is now."""
        build, home = current_build.get(), home_path(Path(self.home))
        require_own(home)
        project = Project(
            self.config(),
            home,
            build.progress if build else ProgressLines(),
            on_epoch,
            pinned_fingerprint=self.fingerprint,
            pinned_champion=self.champion,
            graph=build.graph if build else STAGES,
            listed=build.listed if build else None,
        )
        if build:
            build.listed = None  # it may be large, and is taken once
        log_to_home(home)  # which is where a project may be
        return project


def config_of_run(project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run of Dagster that gives its project these values."""
    return {"resources": {"project": {"config": dict(project)}}}
