"""Versions of models in MLflow: their aliases and tags follow the registry, and runs can be deleted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakeword_core.errors import ArtifactError
from wakeword_core.graph.project import Project
from wakeword_core.registry.history import Entry, Registry
from wakeword_core.store.cleaning import Item, delete, shown_key
from wakeword_pipeline.tracking.training_runs import KEY_TAG, STAGE_TAG, TRAINED, TUNED, MlflowResource

_ALIASES = ("champion", "candidate")
_PAGE = 500
_MAX_TAG = 1_000


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    model: str
    number: int
    aliases: tuple[str, ...]

    def __str__(self) -> str:
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.model} version {self.number}{aliases}"


@dataclass(frozen=True)
class ModelRun:
    """A run in MLflow: its artifact, the folder with copies of its files, and the versions made from it."""

    run_id: str
    stage: str
    key: str
    files: Path
    """The folder with copies of its files, in a folder of the run's own."""
    versions: tuple[Version, ...]


def model_runs(home: str) -> list[ModelRun]:
    """Return the run of every training and tuning in a home; none, without making a store, where none was tracked."""
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
            files=store.files_of(run.info.run_id),
            versions=tuple(versions.get(run.info.run_id, ())),
        )
        for run in runs
        if KEY_TAG in run.data.tags
    ]


def mirror(project: Project) -> None:
    """Give the versions in MLflow the aliases `champion` and `candidate` and the tags that the project's registry says.

    Of several candidates the newest has the alias. Models that differ in thresholds alone are one version, whose tags
    are those of the one that was decided about last. Nothing is done where nothing was tracked.
    """
    store = MlflowResource(home=str(project.home))
    if not store.exists:
        return
    client, registry, name = store.client(), project.registry(), project.config.unique_name
    versions = {
        run.key: version.number for run in model_runs(store.home) for version in run.versions if version.model == name
    }
    numbers = {key: number for key in registry.keys if (number := _number(registry, key, versions))}
    for alias in _ALIASES:
        holders = [
            numbers[key]
            for key in (entry.key for entry in registry.history)
            if key in numbers and registry.role(key) == alias
        ]
        if holders:
            client.set_registered_model_alias(name, alias, str(holders[-1]))
        elif versions:
            client.delete_registered_model_alias(name, alias)
    for entry in registry.history:
        if entry == registry.last(entry.key) and entry.key in numbers:
            _tag(client, name, numbers[entry.key], registry, entry)


def _number(registry: Registry, key: str, versions: Mapping[str, int]) -> int | None:
    last = registry.last(key)
    keys = [last.artifacts[stage] for stage in (TUNED, TRAINED) if last and stage in last.artifacts]
    return next((versions[key] for key in keys if key in versions), None)


def _tag(client: Any, name: str, number: int, registry: Registry, entry: Entry) -> None:
    tags = {
        "role": registry.role(entry.key),
        "decision": f"{entry.decision} on {entry.when[:10]}: {entry.reason}"[:_MAX_TAG],
        "held_against": entry.opponent or "nobody",
        "model_key": entry.key,
    }
    there = client.get_model_version(name, str(number)).tags
    for tag, value in tags.items():
        if there.get(tag) != value:
            client.set_model_version_tag(name, str(number), tag, value)


def delete_runs(home: str, runs: Collection[ModelRun]) -> None:
    """Delete runs with the versions made from them and, first, the copies of their files."""
    store = MlflowResource(home=home)
    for run in runs:
        if run.files != store.files_of(run.run_id):
            raise ArtifactError(f"the files of MLflow run {run.run_id} lie outside of the home, in {run.files}")
    client = store.client()
    for run in runs:
        delete([Item(run.stage, shown_key(run.key), "a run of MLflow", (run.files.parent,))])
        for version in run.versions:
            client.delete_model_version(version.model, str(version.number))
        client.delete_run(run.run_id)


def unknown_files(home: str) -> list[Item]:
    """List folders with copies of models, as things to delete, that no run in MLflow knows."""
    folders = MlflowResource(home=home).unknown_files()
    return [Item("mlruns", shown_key(path.name), "no run in MLflow knows it", (path,)) for path in folders]


def _versions(client: Any) -> dict[str, list[Version]]:
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in _all(client.search_registered_models):
        for alias, number in model.aliases.items():
            aliases.setdefault((model.name, str(number)), []).append(alias)
    versions: dict[str, list[Version]] = {}
    for version in _all(client.search_model_versions):
        names = tuple(sorted(aliases.get((version.name, str(version.version)), ())))
        versions.setdefault(version.run_id, []).append(Version(version.name, int(version.version), names))
    return versions


def _all(search: Any, *arguments: Any) -> list[Any]:
    page = search(*arguments, max_results=_PAGE)
    results = list(page)
    while page.token:
        page = search(*arguments, max_results=_PAGE, page_token=page.token)
        results += page
    return results
