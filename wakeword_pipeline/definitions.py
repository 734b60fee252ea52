"""Everything Dagster loads."""

import dagster as dg

from wakeword_pipeline import automation
from wakeword_pipeline.assets import delivery, features, ingest, model
from wakeword_pipeline.home import config_path, home_path
from wakeword_pipeline.resources import ProjectResource
from wakeword_pipeline.tracking import MlflowResource

ASSETS = dg.load_assets_from_modules([ingest, features, model, delivery])

defs = dg.Definitions(
    assets=ASSETS,
    resources={
        "project": ProjectResource(config_path=str(config_path()), home=str(home_path())),
        "mlflow": MlflowResource(home=str(home_path())),
    },
    sensors=[automation.rebuild_on_change],
    schedules=[automation.observe_often, automation.observe_nightly],
    jobs=[automation.observe_job],
    executor=dg.in_process_executor,
)
