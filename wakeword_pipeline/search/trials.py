"""The trials of a search, one after the other: each a build of the graph, and a run in MLflow below that of the search.

Several processes may work at one search: each calls `search`.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config.loading import with_settings
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.search import (
    Dimension,
    Keep,
    OnEpoch,
    build_trial,
    dimensions,
    figures_of,
    search_name,
    validation_of,
)
from wakeword_core.graph.stage import Stage
from wakeword_core.store.locks import exclusive
from wakeword_core.training.records import EpochRecord
from wakeword_pipeline.search import SEARCHES, needed
from wakeword_pipeline.search.results import PROBLEM, Found, found_in, write_found
from wakeword_pipeline.search.study import (
    earlier_tries,
    open_study,
    quiet,
    replaced,
    require_optuna,
    suggested,
    take_up,
)
from wakeword_pipeline.tracking.search_runs import SearchRuns, Status, TrialRun

if TYPE_CHECKING:
    from optuna.trial import Trial

log = logging.getLogger(__name__)

Turn = Callable[[], AbstractContextManager[None]]
"""Gives what is held by whoever has the turn on the GPU."""
_VALIDATION = "validation"
"""What is noted with a trial: the hash of the recordings that it was judged on."""
_MOST_FAILURES = 3
"""In a row, after which a search ends: what fails so often fails for all."""


def search(project: Project, gpu: Turn = nullcontext) -> Found:
    """Make the trials that a project's search lacks, and return what was found.

    `gpu` gives what is held while a stage uses the GPU. Trials of killed processes are taken up first. ConfigError for
    what cannot be searched; WakewordError when several trials in a row fail. Whatever ends it, the next call goes on.
    """
    require_optuna()
    space = dimensions(project)
    project.pinned_fingerprint = project.fingerprint()
    with quiet():
        return _Search(project, space, gpu).run()


def folder_of(home: Path, name: str) -> Path:
    """Return the folder of what a search found."""
    return home / SEARCHES / name


class _Search:
    def __init__(self, project: Project, space: list[Dimension], gpu: Turn) -> None:
        self._project, self._space, self._settings, self._gpu = project, space, project.config.search, gpu
        self._name = search_name(project, space)
        self._folder = folder_of(project.home, self._name)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._study = open_study(project.home, self._name, self._settings)
        self._runs = SearchRuns(project.home, self._name, project.config, space)

    def run(self) -> Found:
        failures = 0
        while (number := self._next()) is not None:
            row = next(row for row in self._write().rows if row.number == number)
            log.log(logging.WARNING if row.state == "failed" else logging.INFO, "%s", row)
            failures = failures + 1 if row.state == "failed" else 0
            if failures == min(_MOST_FAILURES, self._settings.trials):
                raise WakewordError(f"{failures} trials in a row failed; the last one: {row.problem}")
        found = self._write()
        if found.best and not found.count("at work"):
            self._runs.end(found.best.figures)
        return found

    def _write(self) -> Found:
        found = found_in(self._study, self._name, self._settings.objectives, self._space)
        write_found(found, self._project.config, self._folder)
        return found

    def _next(self) -> int | None:
        """Make one more trial and return its number; None where none is left to begin."""
        number: int | None = None
        with ExitStack() as held, ExitStack() as beginning:
            # one process at a time begins a trial, so that there are not more of them than asked for
            beginning.enter_context(exclusive(self._folder / ".lock"))
            if not self._is_wanting():
                return None

            def objective(trial: "Trial") -> list[float]:
                nonlocal number
                number = trial.number
                keep = held.enter_context(needed.at_work(self._folder, number))  # until its result is in the study
                beginning.close()
                return self._make(trial, keep)

            try:
                self._study.optimize(objective, n_trials=1, catch=(WakewordError,))
            except BaseException:
                if number is not None:  # what ended it, such as a full disk, is no fault of its settings
                    take_up(self._study, number)
                raise
        self._release()
        return number

    def _is_wanting(self) -> bool:
        """Have trials of killed processes taken up, and return whether there is any trial to begin."""
        from optuna.trial import TrialState

        trials = self._study.get_trials(deepcopy=False)
        for number in needed.left_behind(self._folder):
            if number < len(trials) and trials[number].state is TrialState.RUNNING:
                log.info("trial %d was killed, and is taken up", number)
                take_up(self._study, number)
        trials = self._study.get_trials(deepcopy=False)
        waiting = any(trial.state is TrialState.WAITING for trial in trials)
        return waiting or len(trials) - len(replaced(trials)) < self._settings.trials

    def _release(self) -> None:
        """Leave to `wakeword gc` what only trials need that are over, and not among the best."""
        open_trials = [one for one in self._study.get_trials(deepcopy=False) if not one.state.is_finished()]
        wanted = {trial.number for trial in (*open_trials, *self._study.best_trials)}
        needed.release(self._folder, wanted | replaced(open_trials))

    def _make(self, trial: "Trial", keep: Keep) -> list[float]:
        values = suggested(trial, self._space)
        earlier = earlier_tries(self._study.trials[trial.number])
        log.info("trial %d: %s", trial.number, ", ".join(f"{name}={value}" for name, value in values.items()))
        run = self._runs.trial(trial.number, earlier, values)
        status: Status = "KILLED"
        figures: list[float] = []
        try:
            figures = self._judged(trial, values, keep, run)
            status = "FINISHED"
        except WakewordError as error:
            status = "FAILED"
            trial.set_user_attr(PROBLEM, str(error))
            raise
        finally:
            run.end(status, dict(zip(self._settings.objectives, figures, strict=False)))
        return figures

    def _judged(self, trial: "Trial", values: dict[str, Any], keep: Keep, run: TrialRun) -> list[float]:
        """Build a trial and return its figures; DataError where it would be judged on other recordings than others."""
        whole = self._project
        project = Project(
            with_settings(whole.config, values),
            whole.home,
            whole.progress,
            pinned_fingerprint=whole.pinned_fingerprint,
            graph=whole.graph,
        )
        with project.store.in_use():
            artifacts = build_trial(project, keep, self._on_epoch(trial, run), self._slot)
        validation = validation_of(artifacts)
        trial.set_user_attr(_VALIDATION, validation)
        trials = self._study.get_trials(deepcopy=False)
        if validation != next(one.user_attrs[_VALIDATION] for one in trials if _VALIDATION in one.user_attrs):
            raise DataError(
                "its validation has other recordings than that of the first trial, so that they cannot be compared; "
                "search only settings that leave validation as it is"
            )
        return figures_of(artifacts, self._settings.objectives)

    def _on_epoch(self, trial: "Trial", run: TrialRun) -> OnEpoch:
        """Return what logs epochs and, where the search prunes, ends the training of a trial that learns too little."""
        from optuna import TrialPruned

        told: set[int] = set()

        def on_epoch(record: EpochRecord, at_work: bool) -> None:
            run.log_epoch(record)
            if not self._settings.prunes or record.epoch in told:
                return
            told.add(record.epoch)
            trial.report(-record.val_score, record.epoch)  # small is good, as with the objectives
            if at_work and trial.should_prune():
                raise TrialPruned

        return on_epoch

    def _slot(self, stage: Stage) -> AbstractContextManager[None]:
        """Return the turn on the GPU that a stage has to wait for, if it uses one."""
        if stage.gpu:
            from wakeword_core.training.device import choose_device

            if choose_device(self._project.config.compute.device) == "cuda":
                return self._gpu()
        return nullcontext()
