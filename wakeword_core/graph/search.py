"""What a search tries and by what it judges: the space of settings, the objectives, and trials, which are builds.

A trial builds no more of the graph than its objectives need, and nothing that holds the test split.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from wakeword_core.config import Config
from wakeword_core.config.loading import with_settings
from wakeword_core.config.search import DimensionConfig, overlap
from wakeword_core.config.training import THE_CHAMPION
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.files import digest
from wakeword_core.graph.project import Place, Project
from wakeword_core.graph.stage import Input, Stage
from wakeword_core.lineage.given import find_given
from wakeword_core.stage_names import MODEL, SHARDS, StageName
from wakeword_core.store.artifacts import Artifact, artifact_name
from wakeword_core.store.graph import NodeId
from wakeword_core.training.records import HISTORY, EpochRecord, read_history

_TRAINED: StageName = "trained_model"
_ARCHITECTURE = "training.model.arch"
_THE_QUESTION = (
    *("phrase", "seed", "data.audio"),
    *("evaluation.streams", "evaluation.conditions", "evaluation.operating_points"),
)
"""Settings by which trials are judged, which therefore have to be the same for all."""
_PRUNED_BY = tuple(f"training.validation.{name}" for name in ("metric", "max_fpr", "false_alarms_per_hour"))
"""Settings by which trainings are compared epoch by epoch."""
_DIGITS = 8
"""Of the hash in the name of a search."""


@dataclass(frozen=True)
class Measure:
    """An objective: where its figure comes from, and how people are shown it."""

    stage: StageName
    read: Callable[[Mapping[str, Any]], float]
    heading: str
    """Of a table and an axis, with the unit."""
    scale: float
    """What the figure is multiplied with to be in that unit."""

    def shown(self, figure: float) -> str:
        """Write a figure in that unit."""
        return f"{self.scale * figure:.4g}"


def _misses(figures: Mapping[str, Any]) -> float:
    """Return the share of validation's words that is missed at the operating point.

    Where none keeps the target of false alarms, only a model that never fires does, and that misses all.
    """
    return float(figures["val_frr"]) if figures["val_reachable"] else 1.0


MEASURES: dict[str, Measure] = {
    "misses": Measure("calibrated_model", _misses, "missed (%)", 100.0),
    "cpu": Measure(MODEL, lambda figures: float(figures["cpu_ms_per_s"]), "CPU (ms a second)", 1.0),
    "bytes": Measure(MODEL, lambda figures: float(figures["bytes"]), "size (kB)", 1e-3),
}


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched: its dotted name, and the values that it may have."""

    name: str
    choices: tuple[Any, ...] = ()
    """The values; empty for a range."""
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    """Distance between the numbers; None: any number, or any whole one."""
    log: bool = False
    whole: bool = False
    """Whether a range is of whole numbers."""

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values between which, or among which, all others are, and where there are steps the first one."""
        return self.choices or (self.low, self.high, *([min(self.low + self.step, self.high)] if self.step else []))

    @property
    def described(self) -> str:
        """Return what is tried, for people."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" + (", by logarithm" if self.log else "")


def dimensions(project: Project) -> list[Dimension]:
    """Return what a project searches; ConfigError where a value is not allowed, or would change no trial."""
    config, space = project.config, project.config.search.space
    if not space:
        raise ConfigError(
            "search.space is empty: name the settings to search, such as training.schedule.learning_rate: "
            "{low: 0.0005, high: 0.02, log: true}"
        )
    if config.training.start_from == THE_CHAMPION:
        raise ConfigError(
            "training.start_from is champion, which may be another one from trial to trial; name a model by its key, "
            "or set it to null"
        )
    architectures = space[_ARCHITECTURE].choices if _ARCHITECTURE in space else ()
    found = []
    for name, given in space.items():
        _require_searchable(config, name)
        dimension = _dimension(config, name, given)
        for value in dimension.ends:
            for architecture in architectures if name != _ARCHITECTURE else ():
                _tried(config, name, {_ARCHITECTURE: architecture, name: value})
            if name == _ARCHITECTURE or not architectures:
                _tried(config, name, {name: value})
        found.append(dimension)
    branches = {branch for stage, _ in places_of(project) for branch in _branches(project.stages[stage])}
    for name in space:
        if not any(overlap(name, branch) for branch in branches):
            raise ConfigError(f"search.space.{name}: nothing that trials are judged by depends on it")
    return found


def _require_searchable(config: Config, name: str) -> None:
    if asked := next((one for one in _THE_QUESTION if overlap(name, one)), None):
        raise ConfigError(f"search.space.{name}: all trials are judged by the same {asked}, which cannot be searched")
    if config.search.prunes and any(overlap(name, one) for one in _PRUNED_BY):
        raise ConfigError(
            f"search.space.{name}: trainings are compared by it after each epoch; set search.pruning.enabled to false "
            "to search it"
        )


def _dimension(config: Config, name: str, given: DimensionConfig) -> Dimension:
    if given.choices:
        return Dimension(name, given.choices)
    assert given.low is not None and given.high is not None
    ends = (given.low, given.high, given.step or 1.0)
    whole = all(end.is_integer() for end in ends) and not _is_allowed(config, name, given.low + 0.5)
    low, high, step = (int(end) if whole else end for end in ends)
    return Dimension(name, (), low, high, step if given.step else None, given.log, whole)


def _is_allowed(config: Config, name: str, value: Any) -> bool:
    try:
        with_settings(config, {name: value})
    except ConfigError:
        return False
    return True


def _tried(config: Config, name: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigError, which names the place in the space, for values that the tree of settings does not allow."""
    try:
        with_settings(config, values)
    except ConfigError as error:
        raise ConfigError(f"search.space.{name}: {error}") from None


def places_of(project: Project) -> list[Place]:
    """Return what a trial builds, in build order: the stages of the objectives with all that they are made from."""
    stages = project.stages
    waiting: list[Place] = [(MEASURES[name].stage, None) for name in project.config.search.objectives]
    reached: set[Place] = set()
    while waiting:
        place = waiting.pop()
        if place not in reached:
            reached.add(place)
            waiting += [(edge.stage, edge.at(place[1])) for edge in _edges(stages[place[0]]) if edge.stage in stages]
    return [
        (stage.name, split) for stage in stages.values() for split in stage.splits if (stage.name, split) in reached
    ]


def _edges(stage: Stage) -> Iterator[Input]:
    yield from stage.inputs
    for check in stage.checks:
        yield from check.inputs


def _branches(stage: Stage) -> tuple[str, ...]:
    return (*stage.settings, *stage.settings_of_training, *filter(None, [stage.switch]))


def search_name(project: Project, space: Sequence[Dimension]) -> str:
    """Return what a search is known by: the phrase, and a hash of the recordings and all that trials depend on.

    So the same command goes on with the same search, and a change that makes trials incomparable begins another.
    """
    search = project.config.search
    config = with_settings(project.config, {dimension.name: dimension.ends[0] for dimension in space})
    stages = [(project.stages[stage], split) for stage, split in places_of(project)]
    basis = [(stage.name, split, stage.version, stage.deciding_settings(config, split)) for stage, split in stages]
    given = [find_given(name, project.store).content for stage, _ in stages for name in stage.models(config).values()]
    asked = [search.objectives, {name: one.model_dump(mode="json") for name, one in search.space.items()}]
    return f"{config.unique_name}-{digest([project.fingerprint(), asked, basis, *given])[:_DIGITS]}"


Keep = Callable[[NodeId], None]
"""Is told which artifact a trial needs, before it is built."""
OnEpoch = Callable[[EpochRecord, bool], None]
"""Is told of an epoch, and whether the training is at work still: then it may raise what ends the trial."""
Slot = Callable[[Stage], AbstractContextManager[Any]]
"""Gives what is held while a stage is built, such as the turn on the GPU."""


def build_trial(
    project: Project, keep: Keep, on_epoch: OnEpoch, slot: Slot = lambda stage: nullcontext()
) -> dict[Place, Artifact]:
    """Build and check what a trial is judged by, and return its artifacts; WakewordError where a check fails."""
    places, artifacts = places_of(project), dict[Place, Artifact]()
    if looked_at := [artifact_name(*place) for place in places if place[1] == "test"]:
        raise ValueError(f"a search must not look at the test, but would build {', '.join(looked_at)}")
    for name, split in places:
        keep((name, project.expected_key(name, split)))
        stage = project.stages[name]
        project.on_epoch = (lambda record: on_epoch(record, True)) if name == _TRAINED else lambda record: None
        with slot(stage):
            artifact, _ = project.build(name, split)
        if name == _TRAINED:
            for record in read_history(artifact.file(HISTORY)):
                on_epoch(record, False)
        for verdict in project.verdicts(name, split):
            if verdict.stops:
                where = artifact_name(name, split)
                raise WakewordError(f"the check {verdict.check} of {where} failed: {verdict.description}")
        artifacts[name, split] = artifact
    return artifacts


def figures_of(artifacts: Mapping[Place, Artifact], objectives: Sequence[str]) -> list[float]:
    """Return the figure of each objective, from the artifacts of a trial."""
    return [MEASURES[name].read(artifacts[MEASURES[name].stage, None].figures) for name in objectives]


def validation_of(artifacts: Mapping[Place, Artifact]) -> str:
    """Return the hash of the recordings that a trial was judged on."""
    return artifacts[SHARDS, "val"].content
