"""MLflow runs of a search: one for the whole, and below it one for each trial. They hold figures and no files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wakeword_core.config import Config
from wakeword_core.graph.search import Dimension
from wakeword_core.store.locks import exclusive
from wakeword_pipeline.tracking.training_runs import PARENT_TAG, EpochLog, MlflowResource, log_params

SEARCH_TAG, TRIAL_TAG = "search", "trial"
_WHOLE = "all"
"""What stands for a trial in the run of the whole search."""

Status = Literal["FINISHED", "KILLED", "FAILED"]


class TrialRun:
    """The run of one trial."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self.log_epoch = EpochLog(client, run_id)

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        """Log the figures that there are, and close the run."""
        _end(self._client, self._run_id, status, figures)


class SearchRuns:
    """The runs of one search in the MLflow store of a home."""

    def __init__(self, home: Path, name: str, config: Config, space: Sequence[Dimension]) -> None:
        """Find the run of the whole search, or begin it."""
        store = MlflowResource(home=str(home))
        self._client, self._name = store.client(), name
        self._experiment = store.experiment_id(self._client)
        asked = {"objectives": ", ".join(config.search.objectives), **{one.name: one.described for one in space}}
        with exclusive(home / "search.lock"):  # of processes that begin together one makes it
            self._whole = self._find(_WHOLE) or self._begin(_WHOLE, name, {"phrase": config.phrase}, asked)

    def trial(self, number: int, earlier: Sequence[int], values: Mapping[str, Any]) -> TrialRun:
        """Begin the run of a trial, or go on with that of its `earlier` tries."""
        name, known = f"trial {number}", next(filter(None, (self._find(str(one)) for one in earlier)), "")
        if known:
            self._client.update_run(known, status="RUNNING", name=name)
            self._client.set_tag(known, TRIAL_TAG, str(number))
        run_id = known or self._begin(str(number), name, {PARENT_TAG: self._whole}, values)
        return TrialRun(self._client, run_id)

    def end(self, best: Mapping[str, float]) -> None:
        """Close the run of the whole search, with the figures of its best trial."""
        _end(self._client, self._whole, "FINISHED", {f"best_{name}": value for name, value in best.items()})

    def _find(self, trial: str) -> str:
        wanted = f"tags.{SEARCH_TAG} = '{self._name}' and tags.{TRIAL_TAG} = '{trial}'"
        runs = self._client.search_runs([self._experiment], wanted, max_results=1)
        return str(runs[0].info.run_id) if runs else ""

    def _begin(self, trial: str, name: str, tags: Mapping[str, str], params: Mapping[str, Any]) -> str:
        tags = {SEARCH_TAG: self._name, TRIAL_TAG: trial, **tags}
        run_id = str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)
        log_params(self._client, run_id, params)
        return run_id


def _end(client: Any, run_id: str, status: Status, figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        client.log_metric(run_id, name, value)
    client.set_terminated(run_id, status)
