"""MLflow runs: one for each training or tuning, with its inputs, results, and its run in Dagster."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg

from wakeword_core.config import Config
from wakeword_core.errors import WakewordError
from wakeword_core.files import replacing
from wakeword_core.graph.project import Project
from wakeword_core.store.artifacts import Artifact
from wakeword_core.store.locks import exclusive
from wakeword_core.training.records import HISTORY, EpochRecord, read_history
from wakeword_pipeline.tracking.database import follow_home, known_runs

log = logging.getLogger(__name__)

TRAINED = "trained_model"
TUNED = "tuned_model"
"""The stages that have runs; the run of a tuning is a child of the training's."""
KEY_TAG = "artifact_key"
RUN_TAG = "dagster_run_id"
STAGE_TAG = "stage"
_FOLDER = "model"
"""Folder of a run that holds the artifact's files."""
PARENT_TAG = "mlflow.parentRunId"
_PARAMS: tuple[str, ...] = ("phrase", "seed", "features", "training", "compute")
_LONGEST_PARAM = 500
_MAX_DESCRIPTION = 4_900
"""Characters of a description; some databases behind MLflow hold no more than 5,000."""
_EVERY_EPOCH = "val_loss"
"""A figure that every epoch has."""
_NO_RUNS = ("models", "traces")
"""Folders of an experiment that are no runs; MLflow makes them for whoever logs models or traces by hand."""
_RUN_FOLDER = re.compile("[0-9a-f]{32}")


class Training:
    """The MLflow run of one training. It begins with the first epoch, so a training that is found complete has none."""

    def __init__(self, store: "MlflowResource", dagster_run_id: str, stage: str) -> None:
        self._store = store
        self._dagster_run_id = dagster_run_id
        self._stage = stage
        self._client: Any = None
        self._run_id = ""
        self._epochs: EpochLog | None = None
        self._begin: Callable[[], tuple[Any, str]] | None = None

    @contextmanager
    def of(self, project: Project) -> Iterator[None]:
        """Let epochs be logged while `project` builds its model; a failure marks the run as failed."""
        self._begin = lambda: self._store.begin(project, self._stage, self._dagster_run_id)
        try:
            yield
        except BaseException:
            if self._run_id:
                self._client.set_terminated(self._run_id, "FAILED")
            raise

    def log_epoch(self, record: EpochRecord) -> None:
        """Log the figures of an epoch, with its number as step, unless they are logged already."""
        self._ensure()(record)

    def finish(self, artifact: Artifact) -> str:
        """Log missing epochs, the model's files and its inputs; close the run and return its id."""
        # an epoch is on disk before it is logged: a kill between the two left it to us
        for record in read_history(artifact.file(HISTORY)):
            self.log_epoch(record)
        self._ensure()
        self._store.finish(self._client, self._run_id, artifact)
        return self._run_id

    def run_of(self, artifact: Artifact, built: bool) -> str:
        """Return the finished run of an artifact; it is logged now if the artifact is new or MLflow lost the run."""
        # a training that was cut off after its last epoch is complete, but not logged yet
        return (not built and self._store.find(artifact.key)) or self.finish(artifact)

    def _ensure(self) -> "EpochLog":
        if self._epochs is None:
            assert self._begin is not None
            self._client, self._run_id = self._begin()
            self._epochs = EpochLog(self._client, self._run_id)
        return self._epochs


def figures_of(record: EpochRecord) -> dict[str, float]:
    """Return the figures of an epoch that were measured, by name."""
    figures = asdict(record)
    del figures["epoch"]
    return {name: float(value) for name, value in figures.items() if value is not None}


class EpochLog:
    """Logs the figures of epochs to a run, each epoch once, with its number as step."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._logged = {metric.step for metric in client.get_metric_history(run_id, _EVERY_EPOCH)}

    def __call__(self, record: EpochRecord) -> None:
        """Log an epoch, unless it is logged already."""
        from mlflow.entities import Metric

        if record.epoch in self._logged:
            return
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, record.epoch) for name, value in figures_of(record).items()]
        self._client.log_batch(self._run_id, metrics=metrics)
        self._logged.add(record.epoch)


class MlflowResource(dg.ConfigurableResource):
    """The MLflow store under the home: sqlite for runs and registry, a folder for files."""

    home: str
    experiment: str = "wakeword"

    @property
    def tracking_uri(self) -> str:
        """The store's address, as `mlflow ui --backend-store-uri` takes it."""
        return _uri(self._database)

    @property
    def exists(self) -> bool:
        """Whether there is a store; `client` makes it."""
        return self._database.is_file() and self._database.stat().st_size > 0

    @property
    def _database(self) -> Path:
        return Path(self.home).resolve() / "mlflow.db"

    def client(self) -> Any:
        """Open an MLflow client on this store; nothing global is set."""
        from mlflow import MlflowClient

        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._database.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self._database.with_name("mlflow.lock"), "another process opens MLflow's database"):
            if not self.exists and not self._database.is_dir():
                # making the tables takes seconds, and a database that is cut off in the middle can never be opened
                with replacing(self._database) as part:
                    MlflowClient(tracking_uri=_uri(part), registry_uri=_uri(part)).search_experiments(max_results=1)
            if follow_home(self._database, self.experiment, self._files):
                log.info("This home was moved; MLflow's files are looked for in %s.", self._files)
        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    @property
    def _files(self) -> Path:
        return Path(self.home).resolve() / "mlruns"

    def files_of(self, run_id: str) -> Path:
        """Return the folder of a run's files. It follows from the run's id: a path in a database is not used."""
        if not _RUN_FOLDER.fullmatch(run_id):
            raise WakewordError(f"{run_id!r}, a run in {self._database}, is no run of MLflow's; delete it there")
        return self._files / run_id / "artifacts"

    def unknown_files(self) -> list[Path]:
        """Return folders of runs that the database does not know, as after a loss: copies of models may be there."""
        known = known_runs(self._database) if self.exists else ()
        folders = self._files.iterdir() if self._files.is_dir() else ()
        return sorted(path for path in folders if path.is_dir() and path.name not in {*known, *_NO_RUNS})

    def begin(self, project: Project, stage: str, dagster_run_id: str) -> tuple[Any, str]:
        """Begin the run of this training, or continue that of an earlier try; return a client and the run's id."""
        client, config = self.client(), project.config
        key = project.expected_key(stage)
        experiment = self.experiment_id(client)
        unfinished = client.search_runs(
            [experiment], f"tags.{KEY_TAG} = '{key}' and attributes.status != 'FINISHED'", max_results=1
        )
        if unfinished:
            run_id = unfinished[0].info.run_id
            client.update_run(run_id, status="RUNNING")
            client.set_tag(run_id, RUN_TAG, dagster_run_id)
            return client, run_id
        tags = {KEY_TAG: key, RUN_TAG: dagster_run_id, STAGE_TAG: stage, "phrase": config.phrase}
        if stage == TUNED and (parent := self.find(project.require(TRAINED).key)):
            tags[PARENT_TAG] = parent
        run_id = client.create_run(experiment, tags=tags, run_name=run_name(config, stage, key)).info.run_id
        log_params(client, run_id, settings_of(config, stage))
        return client, run_id

    def finish(self, client: Any, run_id: str, artifact: Artifact) -> None:
        """Log files, in their folders, inputs and final figures, and close the run."""
        place = client.get_run(run_id).info.artifact_uri
        if place != self.files_of(run_id).as_uri():
            raise WakewordError(
                f"the files of MLflow run {run_id} would be written to {place}, outside of {self.home}; move "
                f"{self._database} away, and the training is entered in a new one"
            )
        for name in artifact.files:
            folder = PurePosixPath(_FOLDER, name).parent
            client.log_artifact(run_id, str(artifact.file(name)), artifact_path=str(folder))
        _log_inputs(client, run_id, artifact)
        for name, value in artifact.figures.items():
            if isinstance(value, bool):
                client.set_tag(run_id, name, str(value).lower())
            elif isinstance(value, int | float):
                client.log_metric(run_id, f"final_{name}", float(value))
        client.set_terminated(run_id, "FINISHED")

    def find(self, key: str) -> str:
        """Return the id of the finished run of an artifact; empty when there is none."""
        client = self.client()
        finished = f"tags.{KEY_TAG} = '{key}' and attributes.status = 'FINISHED'"
        runs = client.search_runs([self.experiment_id(client)], finished, max_results=1)
        return str(runs[0].info.run_id) if runs else ""

    def experiment_id(self, client: Any) -> str:
        """Return the id of the experiment that all runs of this project are in, which is made if need be."""
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment:
            return experiment.experiment_id
        return client.create_experiment(self.experiment, artifact_location=self._files.as_uri())

    def register(self, run_id: str, name: str) -> dict[str, Any]:
        """Register the run's model as a version of a registered model, unless it is one; return metadata about it."""
        from mlflow.exceptions import MlflowException

        client = self.client()
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        source = f"{client.get_run(run_id).info.artifact_uri}/{_FOLDER}"
        version = known[0].version if known else client.create_model_version(name, source, run_id=run_id).version
        return {"mlflow_model": name, "mlflow_model_version": int(version)}

    def describe(self, name: str, artifact_keys: Sequence[str], text: str, tags: Mapping[str, str]) -> int | None:
        """Give the registered version of the first of the artifacts that has one a description and tags.

        Returns its number; None where the registry has no version of any of them, as after a failed check.
        """
        client = self.client()
        if len(text) > _MAX_DESCRIPTION:
            text = text[:_MAX_DESCRIPTION].rpartition("\n")[0] + "\n\n(cut here; the whole card is in the bundle)"
        for run_id in filter(None, map(self.find, artifact_keys)):
            for version in client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"):
                client.update_model_version(name, version.version, text)
                for tag, value in tags.items():
                    client.set_model_version_tag(name, version.version, tag, value)
                return int(version.version)
        return None


def _uri(database: Path) -> str:
    return f"sqlite:///{database}"


def run_name(config: Config, stage: str, key: str) -> str:
    """Return how trackers call the run of a training: the model, and the beginning of the artifact's key."""
    return f"{config.unique_name}{'-tuned' if stage == TUNED else ''}-{key[:8]}"


def settings_of(config: Config, stage: str) -> dict[str, Any]:
    """Return the settings that trackers show of a training, by dotted name."""
    groups = {*_PARAMS, "mining"} if stage == TUNED else {*_PARAMS}
    return _flatten(config.model_dump(mode="json", include=groups))


def log_params(client: Any, run_id: str, settings: Mapping[str, Any]) -> None:
    """Log settings as parameters of a run, each cut to the length that the databases hold."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, str(value)[:_LONGEST_PARAM]) for name, value in settings.items()])


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _log_inputs(client: Any, run_id: str, artifact: Artifact) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(name, source["content"][:36], "local", f"{source['stage']}/{source['key']}"),
            [InputTag("mlflow.data.context", "training")],
        )
        for name, source in artifact.inputs.items()
    ]
    client.log_inputs(run_id, inputs)
