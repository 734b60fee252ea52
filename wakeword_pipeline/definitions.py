"""Everything Dagster loads."""

import dagster as dg

from wakeword_pipeline import automation
from wakeword_pipeline.assets import delivery, features, ingest, model
from wakeword_pipeline.freshness import with_freshness
from wakeword_pipeline.home import config_path, home_path
from wakeword_pipeline.resources import ProjectResource
from wakeword_pipeline.tracking import MlflowResource

ASSETS = dg.load_assets_from_modules([ingest, features, model, delivery])
CHECKS = dg.load_asset_checks_from_modules([ingest])


def define(project: ProjectResource) -> dg.Definitions:
    """The definitions for one project."""
    return dg.Definitions(
        assets=with_freshness(ASSETS, project.stale_after()),
        asset_checks=CHECKS,
        resources={"project": project, "mlflow": MlflowResource(home=project.home)},
        sensors=[automation.rebuild_on_change],
        schedules=[automation.observe_often, automation.observe_nightly],
        jobs=[automation.observe_job],
        executor=dg.in_process_executor,
    )


defs = define(ProjectResource(config_path=str(config_path()), home=str(home_path())))
