"""The module that Dagster loads: assets, checks, jobs, sensor and schedule."""

import logging

import dagster as dg

from wakeword_core.config import Config
from wakeword_core.errors import WakewordError
from wakeword_pipeline.orchestration.assets import define_assets
from wakeword_pipeline.orchestration.automation import build_all, build_preset, nightly_schedule, rebuild_sensor
from wakeword_pipeline.orchestration.home import config_path, home_path
from wakeword_pipeline.orchestration.resources import ProjectResource
from wakeword_pipeline.orchestration.searching import search_job

log = logging.getLogger(__name__)


def define(project: ProjectResource) -> dg.Definitions:
    """Make the definitions for one project."""
    config = _config(project)
    automation = dg.Definitions(
        sensors=[rebuild_sensor(config.automation)],
        schedules=[nightly_schedule(config.automation)],
        jobs=[build_all, build_preset, search_job],
    )
    return dg.Definitions.merge(define_assets(project, config, resource=project.definition()), automation)


def _config(project: ProjectResource) -> Config:
    """Load the project's configuration, or the default one where that is broken: a run then fails with the reason."""
    try:
        return project.config()
    except WakewordError as error:
        log.warning("The configuration is wrong, so the graph is shown with default settings: %s", error)
        return Config()


defs = define(ProjectResource(config_path=str(config_path()), home=str(home_path())))
