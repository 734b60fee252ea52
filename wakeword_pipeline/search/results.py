"""What a search has found: its trials, the best of them, and for each of these a configuration to build."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import Config
from wakeword_core.config.loading import save_config, with_settings
from wakeword_core.config.search import SearchConfig
from wakeword_core.files import replacing
from wakeword_core.graph.search import MEASURES, Dimension
from wakeword_pipeline.search.study import replaced, values_of

if TYPE_CHECKING:
    import optuna

PROBLEM = "problem"
"""What is noted with a trial: why it failed."""
PICTURE = "trials.png"
State = Literal["finished", "pruned", "failed", "at work"]
_STATES: dict[str, State] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "at work"}


@dataclass(frozen=True)
class Row:
    """One trial: the settings that it tried, its figure for each objective, or why it has none."""

    number: int
    state: State
    values: Mapping[str, Any]
    figures: Mapping[str, float]
    best: bool
    """Whether no other trial is as good in every objective and better in one."""
    problem: str = ""
    epochs: int = 0
    """Epochs of a training that was pruned."""

    def __str__(self) -> str:
        figures = (
            f"{MEASURES[name].heading} {MEASURES[name].scale * value:.4g}" for name, value in self.figures.items()
        )
        pruned = f"after epoch {self.epochs}, where it had learnt less than others" if self.epochs else ""
        return f"trial {self.number} {self.state}: {', '.join(figures) or self.problem or pruned}"


@dataclass(frozen=True)
class Found:
    """The trials of a search so far."""

    name: str
    objectives: tuple[str, ...]
    rows: tuple[Row, ...]
    """In the order in which they began."""

    @cached_property
    def front(self) -> list[Row]:
        """Return the best trials: the best by the first objective first, then by the next ones."""
        return sorted((row for row in self.rows if row.best), key=lambda row: (*row.figures.values(), row.number))

    @property
    def best(self) -> Row | None:
        """Return the first of the best trials, if there is one."""
        return self.front[0] if self.front else None

    def count(self, state: State) -> int:
        """Count the trials of a state."""
        return sum(row.state == state for row in self.rows)


def found_in(study: "optuna.Study", name: str, objectives: tuple[str, ...], space: Sequence[Dimension]) -> Found:
    """Read the trials of a study, without those that were killed and taken up by a later one."""
    trials = study.get_trials(deepcopy=False)
    gone, best = replaced(trials), {trial.number for trial in study.best_trials}
    rows = [
        Row(
            number=trial.number,
            state=_STATES[trial.state.name],
            values=values_of(trial, space),
            figures=dict(zip(objectives, trial.values or (), strict=False)) if trial.state.name == "COMPLETE" else {},
            best=trial.number in best,
            problem=str(trial.user_attrs.get(PROBLEM, "")) if trial.state.name == "FAIL" else "",
            epochs=max(trial.intermediate_values, default=0) if trial.state.name == "PRUNED" else 0,
        )
        for trial in trials
        if trial.number not in gone and trial.state.name in _STATES
    ]
    return Found(name, objectives, tuple(rows))


def configuration(search: Path, number: int) -> Path:
    """Return where the configuration of one of the best trials is written."""
    return search / f"trial-{number}.yaml"


def write_found(found: Found, config: Config, folder: Path) -> None:
    """Write a picture of all trials, and the configuration of each of the best, to the folder of the search."""
    from wakeword_core.evaluation.measure.plots import trials_picture

    searching_nothing = config.model_copy(update={"search": SearchConfig()})
    wanted = {configuration(folder, row.number): row for row in found.front}
    for path, row in wanted.items():
        if not path.exists():
            save_config(with_settings(searching_nothing, row.values), path)
    for path in folder.glob("trial-*.yaml"):
        if path not in wanted:
            path.unlink()
    measures = [MEASURES[name] for name in found.objectives]
    figures = {
        row.number: [one.scale * figure for one, figure in zip(measures, row.figures.values(), strict=True)]
        for row in found.rows
        if row.figures
    }
    if figures:
        with replacing(folder / PICTURE) as part:
            part.write_bytes(
                trials_picture([one.heading for one in measures], figures, {row.number for row in found.front})
            )
