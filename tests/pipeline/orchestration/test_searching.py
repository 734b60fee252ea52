"""A search as a job of Dagster."""

import shutil
from pathlib import Path

import dagster as dg
from cheap_graph import cheap_config, cheap_project

from wakeword_core.config.loading import save_config
from wakeword_pipeline.orchestration.definitions import define
from wakeword_pipeline.orchestration.resources import ProjectResource, current_build


def test_the_job_makes_the_trials_and_shows_the_best(tmp_path: Path, empty_store: Path) -> None:
    home, config = tmp_path / "home", tmp_path / "config.yaml"
    home.mkdir()
    shutil.copyfile(empty_store, home / "mlflow.db")
    save_config(cheap_config(trials=2), config)
    job = define(ProjectResource(config_path=str(config), home=str(home))).resolve_job_def("search")
    token = current_build.set(cheap_project(home))  # of which the job takes the graph
    try:
        result = job.execute_in_process(raise_on_error=False)
        assert result.success
        (output,) = (event for event in result.all_events if event.is_successful_output)
        shown = output.step_output_data.metadata
        assert shown["trials"].value == 2 and "data:image/png;base64," in shown["picture"].md_str
        (best,) = (record.data for record in shown["best_trials"].records)
        assert shown["best_configuration"].path.endswith(f"trial-{best['trial']}.yaml")
        assert shown["best_misses"].value == best["misses"] and 1e-4 <= best["training.schedule.learning_rate"] <= 1

        save_config(cheap_config(trials=2, space={"serving.port": [1, 2]}), config)
        failed = job.execute_in_process(raise_on_error=False)
        (failure,) = (event for event in failed.all_events if event.is_step_failure)
        said = failure.step_failure_data.user_failure_data.description
        assert said == "search.space.serving.port: nothing that trials are judged by depends on it"
    finally:
        current_build.reset(token)
    assert isinstance(shown["picture"], dg.MarkdownMetadataValue)
