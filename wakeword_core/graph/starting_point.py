"""Which model a training goes on from whose configuration says `training.start_from: champion`."""

from collections.abc import Callable

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.given import GivenModel, given_champion, start_of, trained_behind
from wakeword_core.store.artifacts import ArtifactStore

KeyOfTraining = Callable[[GivenModel | None], str]
"""Gives the key that the trained model has with a start; ArtifactError while what it is made from is not built."""


def starting_point(champion: str, store: ArtifactStore, key_of: KeyOfTraining) -> GivenModel | None:
    """Return the model that training goes on from: the champion, or what that itself went on from.

    The latter, which may be None for random weights, counts as long as the champion is what comes of it now. So nothing
    is due when a model becomes champion, and no champion is trained on with what it has learnt already.
    """
    given = given_champion(champion, store)
    if trained := trained_behind(champion, store):
        before = start_of(trained, store)
        try:
            if key_of(before) == trained.key:
                return before
        except ArtifactError:  # of what is not built yet, the champion has learnt nothing
            pass
    return given


def starting_from(config: Config, start: GivenModel | None) -> Config:
    """Return the configuration of a training that goes on from a model, or begins with random weights."""
    if start is None:
        return config.changed({"training.start_from": None, "training.freeze": 0})
    return config.changed({"training.start_from": start.name})
