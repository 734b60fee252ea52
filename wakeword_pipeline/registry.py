"""What MLflow keeps of models: which version has which alias, and the runs and versions of artifacts that must go."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from wakeword_core.errors import ArtifactError
from wakeword_pipeline.tracking import KEY_TAG, STAGE_TAG, MlflowResource

CHAMPION = "champion"
_PAGE = 500


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: int
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        shown = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.model} version {self.number}{shown}"


@dataclass(frozen=True)
class ModelRun:
    """A run in MLflow, the artifact it is about, where copies of its files lie, and the versions made from it."""

    run_id: str
    stage: str
    key: str
    files: Path
    versions: tuple[Version, ...]


def model_runs(home: str) -> list[ModelRun]:
    """Every run of a training or tuning in a home's MLflow store; none, and no store, where nothing was tracked."""
    store = MlflowResource(home=home)
    if not store.exists:
        return []
    client = store.client()
    versions = _versions(client)
    experiment = client.get_experiment_by_name(store.experiment)
    runs = _all(client.search_runs, [experiment.experiment_id]) if experiment else []
    return [
        ModelRun(
            run_id=run.info.run_id,
            stage=run.data.tags.get(STAGE_TAG, ""),
            key=run.data.tags[KEY_TAG],
            files=Path(unquote(urlparse(run.info.artifact_uri).path)),
            versions=tuple(versions.get(run.info.run_id, ())),
        )
        for run in runs
        if KEY_TAG in run.data.tags
    ]


def champion_key(home: str, model: str) -> str:
    """Key of the artifact that the champion of a registered model is; empty when there is none."""
    for run in model_runs(home):
        if any(one.model == model and CHAMPION in one.aliases for one in run.versions):
            return run.key
    return ""


def delete_runs(home: str, runs: Collection[ModelRun]) -> None:
    """Delete runs with the versions made from them and the copies of their files."""
    store = MlflowResource(home=home)
    folder = Path(home).resolve()
    client = store.client()
    for run in runs:
        for one in run.versions:
            client.delete_model_version(one.model, str(one.number))
        client.delete_run(run.run_id)
        if not run.files.resolve().is_relative_to(folder):
            raise ArtifactError(
                f"the files of MLflow run {run.run_id} lie outside of the home, in {run.files}; delete them"
            )
        if run.files.is_dir():
            shutil.rmtree(run.files)


def _versions(client: Any) -> dict[str, list[Version]]:
    """Run -> the versions of registered models that were made from it."""
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in _all(client.search_registered_models):
        for alias, number in model.aliases.items():
            aliases.setdefault((model.name, str(number)), []).append(alias)
    found: dict[str, list[Version]] = {}
    for one in _all(client.search_model_versions):
        names = tuple(sorted(aliases.get((one.name, str(one.version)), ())))
        found.setdefault(one.run_id, []).append(Version(one.name, int(one.version), names))
    return found


def _all(search: Any, *arguments: Any) -> list[Any]:
    """All pages of a search in MLflow."""
    page = search(*arguments, max_results=_PAGE)
    found = list(page)
    while page.token:
        page = search(*arguments, max_results=_PAGE, page_token=page.token)
        found += page
    return found
