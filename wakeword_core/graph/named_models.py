"""The finished models that a configuration names: its teachers, and the one that training goes on from."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from wakeword_core.config import Config, Split
from wakeword_core.config.training import THE_CHAMPION
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.graph.stage import Stage
from wakeword_core.lineage.given import (
    START,
    GivenModel,
    find_given,
    given_champion,
    inputs_of,
    setting_of,
    start_of,
    trained_behind,
)
from wakeword_core.lineage.recordings import recordings_behind
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.registry.history import Registry
from wakeword_core.stage_names import MODEL
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.store.graph import Graph

_TRAINING = "training"
"""The branch of the configuration that names a model to start from."""


class NamingProject(Protocol):
    """What of a project its models are found by."""

    @property
    def config(self) -> Config: ...  # noqa: D102

    @property
    def pinned_champion(self) -> str | None: ...  # noqa: D102

    @property
    def store(self) -> ArtifactStore: ...  # noqa: D102

    @property
    def stages(self) -> dict[str, Stage]: ...  # noqa: D102

    def registry(self) -> Registry: ...  # noqa: D102

    def forgotten(self) -> Forgotten: ...  # noqa: D102

    def input_contents(self, stage: Stage, split: Split | None) -> dict[str, dict[str, str]]: ...  # noqa: D102


class NamedModels:
    """Finds the models that the configuration of a project names, each of them once."""

    def __init__(self, project: NamingProject) -> None:
        self._project = project
        self._given: dict[str, GivenModel] = {}
        self._started: Config | None = None
        self._fit = False

    def champion_to_start_from(self) -> str | None:
        """Return the key of the champion, empty for none, if it is that which the configuration starts from.

        One that was made from something that is forgotten by now is none: what goes on from it would be made from that.
        """
        project = self._project
        if project.config.training.start_from != THE_CHAMPION:
            return None
        if project.pinned_champion is not None:
            return project.pinned_champion
        champion = project.registry().champion
        if champion is None or _is_made_from(champion.key, project.forgotten().recordings, project.store):
            return ""
        return champion.key

    def config_of(self, stage: Stage) -> Config:
        """Return the configuration as a stage depends on it: it names the model that `champion` is to start from."""
        if _TRAINING not in stage.settings or (champion := self.champion_to_start_from()) is None:
            return self._project.config
        if self._started is None:
            start = self._starting_point(champion) if champion else None
            if start:
                self._given[start.name] = start
            self._started = self._starting_from(start)
        return self._started

    def given_to(self, stage: Stage) -> dict[str, GivenModel]:
        """Return the finished models that the configuration names for a stage, by the part that they play."""
        named = stage.models(self.config_of(stage))
        for part, name in named.items():
            if name not in self._given:
                with _naming(part):
                    self._given[name] = find_given(name, self._project.store)
        return {part: self._given[name] for part, name in named.items()}

    def require_fitting(self) -> None:
        """Raise what speaks against any of the finished models that the configuration names; looked at once.

        Of a champion to start from it is the champion itself: no recording is looked at to tell.
        """
        config, store = self._project.config, self._project.store
        for stage in () if self._fit else self._project.stages.values():
            named = stage.models(config)
            if THE_CHAMPION in named.values():
                champion = self.champion_to_start_from()
                models = {START: given_champion(champion, store)} if champion else {}
            else:
                models = self.given_to(stage)
            if models:
                with _naming(next(iter(models))):
                    stage.fit(config, models)
        self._fit = True

    def look_again(self) -> None:
        """Forget what training goes on from, which follows from what is built."""
        self._started = None

    def _starting_point(self, champion: str) -> GivenModel | None:
        """Return the model that training goes on from: the champion, or what that itself went on from.

        The latter, which may be None for random weights, counts as long as the champion is what comes of it now. So
        nothing is due when a model becomes champion, and no champion is trained on with what it has learnt already.
        """
        store = self._project.store
        given = given_champion(champion, store)
        if trained := trained_behind(champion, store):
            before = start_of(trained, store)
            try:
                if self._key_of_training(before) == trained.key:
                    return before
            except ArtifactError:  # of what is not built yet, the champion has learnt nothing
                pass
        return given

    def _key_of_training(self, start: GivenModel | None) -> str:
        """Return the key of the trained model if training went on from this one; an error without its inputs."""
        stage = self._project.stages["trained_model"]
        contents = self._project.input_contents(stage, None) | inputs_of({START: start} if start else {})
        return stage.key(self._starting_from(start), None, contents)

    def _starting_from(self, start: GivenModel | None) -> Config:
        """Return the configuration of a training that goes on from a model, or begins with random weights."""
        if start is None:
            return self._project.config.changed({"training.start_from": None, "training.freeze": 0})
        return self._project.config.changed({"training.start_from": start.name})


@contextmanager
def _naming(part: str) -> Iterator[None]:
    """Let an error say by which setting a model plays a part: a key or a path is a hundred lines away from it."""
    setting = setting_of(part)
    try:
        yield
    except (ArtifactError, ConfigError) as error:
        if setting in str(error):
            raise
        raise type(error)(f"{setting}: {error}") from error


def _is_made_from(champion: str, recording_ids: Collection[str], store: ArtifactStore) -> bool:
    """Tell whether a champion was made from any of the recordings; one that cannot be traced back counts, too."""
    if not recording_ids:
        return False
    graph = Graph.of_store(store)
    node = graph.nodes.get((MODEL, champion))
    if node is None:
        return False  # its files are gone, which is said where it is opened
    try:
        behind = recordings_behind(graph, node, store.root)
    except ArtifactError:
        return True
    return bool(behind["recording_id"].isin(set(recording_ids)).any())
