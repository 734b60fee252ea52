"""Optuna's part of a search: where its trials are kept, what chooses their settings, and what ends them early."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config.search import SearchConfig
from wakeword_core.errors import MissingDependencyError, WakewordError
from wakeword_core.files import digest, replacing
from wakeword_core.graph.search import Dimension
from wakeword_core.python import install_command
from wakeword_core.store.locks import exclusive
from wakeword_pipeline.postgres import postgres_address
from wakeword_pipeline.search import DATABASE

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, Trial

SEARCH_VARIABLE = "WAKEWORD_SEARCH_URL"
"""Environment variable with the address of a PostgreSQL database for the trials; without it, they are in the home."""
_SCHEMA = "wakeword_search"
"""Of the tables in PostgreSQL, which would otherwise be Dagster's or MLflow's."""
_LOCK = 0x77616B65
"""Of PostgreSQL, held while tables are made."""
_HEARTBEAT_SECONDS, _GRACE_SECONDS = 30, 120
"""How often a trial in PostgreSQL says that it is alive, and after how long a silence it counts as killed."""
_BUSY_SECONDS = 60
"""How long a process waits for others that write to the same SQLite file."""
_SEEDS = 2**32


def require_optuna() -> None:
    """Raise MissingDependencyError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingDependencyError(f"a search needs Optuna: {install_command('search')}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out Optuna's own log lines, and its warnings that parts are experimental or a range ends between steps."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.logging import ERROR, get_verbosity, set_verbosity

    before = get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "The distribution is specified by")
        set_verbosity(ERROR)
        try:
            yield
        finally:
            set_verbosity(before)


def open_study(home: Path, name: str, search: SearchConfig) -> "optuna.Study":
    """Open the study of a search, or begin it, in PostgreSQL where the environment names one, else in the home."""
    import optuna

    address = postgres_address(SEARCH_VARIABLE)
    return optuna.create_study(
        storage=_in_postgres(address) if address else _in_home(home / DATABASE),
        study_name=name,
        directions=["minimize"] * len(search.objectives),
        sampler=_new_sampler(search),
        pruner=_new_pruner(search),
        load_if_exists=True,
    )


def _in_home(database: Path) -> "RDBStorage":
    from optuna.storages import RDBStorage

    def opened(path: Path) -> RDBStorage:
        return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}})

    with exclusive(database.with_name("search.lock"), "another process opens the database of searches"):
        if not database.exists():  # one that is cut off while its tables are made could never be opened
            with replacing(database) as part:
                opened(part).engine.dispose()
        return opened(database)


def _in_postgres(address: str) -> "RDBStorage":
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))  # until this connection is closed
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}"))
            return RDBStorage(
                address,
                engine_kwargs={"connect_args": {"options": f"-csearch_path={_SCHEMA}"}, "pool_pre_ping": True},
                heartbeat_interval=_HEARTBEAT_SECONDS,
                grace_period=_GRACE_SECONDS,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise WakewordError(
            f"the database that {SEARCH_VARIABLE} names cannot be used ({reason}); correct the address, or unset it to "
            "search in the home"
        ) from error


def _new_pruner(search: SearchConfig) -> "optuna.pruners.BasePruner":
    from optuna.pruners import MedianPruner, NopPruner

    if not search.prunes:
        return NopPruner()
    # the step of the first epoch is 1
    return MedianPruner(search.pruning.after_trials, n_warmup_steps=search.pruning.after_epochs)


def _new_sampler(search: SearchConfig) -> "BaseSampler":
    """Return a sampler whose draws for a trial follow from the seed, the trial's number and the results so far.

    With one seed for all, processes that begin together would try the same, and so would one that goes on.
    """
    from optuna.samplers import BaseSampler

    class Seeded(BaseSampler):
        def before_trial(self, study: Any, trial: Any) -> None:
            self._sampler = _sampler_of(search, trial.number)
            self._sampler.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._sampler.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._sampler.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)

        def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
            # for which a process may have another trial than it began with
            _sampler_of(search, trial.number).after_trial(study, trial, state, values)

    return Seeded()


def _sampler_of(search: SearchConfig, trial: int) -> "BaseSampler":
    from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler

    seed = int(digest([search.seed, trial]), 16) % _SEEDS
    match search.sampler:
        case "tpe":
            return TPESampler(seed=seed, n_startup_trials=search.random_trials)
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=search.random_trials)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=search.random_trials)
        case "random":
            return RandomSampler(seed=seed)


def suggested(trial: "Trial", space: Sequence[Dimension]) -> dict[str, Any]:
    """Return the value of each searched setting that the sampler chooses for a trial."""
    for one in space:
        if one.choices:
            trial.suggest_categorical(one.name, [json.dumps(choice) for choice in one.choices])  # which may be lists
        elif one.whole:
            trial.suggest_int(one.name, int(one.low), int(one.high), step=int(one.step or 1), log=one.log)
        else:
            trial.suggest_float(one.name, one.low, one.high, step=one.step, log=one.log)
    return values_of(trial, space)


def values_of(trial: "Trial | FrozenTrial", space: Sequence[Dimension]) -> dict[str, Any]:
    """Return the value of each searched setting of a trial, as it stands in the configuration."""
    params = trial.params
    return {
        one.name: json.loads(params[one.name]) if one.choices else params[one.name]
        for one in space
        if one.name in params
    }


def take_up(study: "optuna.Study", number: int) -> None:
    """Have a trial that was stopped or killed tried again, with the same settings, by whoever begins the next one."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    trial = study.trials[number]
    if trial.state is TrialState.RUNNING:
        try:
            study.tell(number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):  # another process does the same
            return
    RetryHeartbeatStaleTrialCallback()(study, trial)


def earlier_tries(trial: "FrozenTrial") -> list[int]:
    """Return the numbers of killed trials that a trial takes up, the first one first."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    return list(RetryHeartbeatStaleTrialCallback.retry_history(trial))


def replaced(trials: "Sequence[FrozenTrial]") -> set[int]:
    """Return the numbers of the killed trials that these take up."""
    return {number for trial in trials for number in earlier_tries(trial)}
