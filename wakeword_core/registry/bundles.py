"""The bundle that goes with a model, and the one that a home hands out."""

import logging
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.registry.history import Registry
from wakeword_core.stage_names import BUNDLE, MODEL
from wakeword_core.store.artifacts import Artifact, ArtifactStore

log = logging.getLogger(__name__)


def bundles_by_model(store: ArtifactStore) -> dict[str, Artifact]:
    """Key of a model -> its newest bundle, which new facts about its data may have made anew since it was entered."""
    return {one.inputs[MODEL]["key"]: one for one in store.all(BUNDLE)}


def delivered_bundle(home: Path, config: Config) -> Artifact:
    """The champion's bundle of a project, or, with a warning, the one built last while there is no champion.

    Raises ArtifactError where there is none.
    """
    store, champion = ArtifactStore(home / "store"), Registry.of(home, config).champion
    if champion is not None:
        found = bundles_by_model(store).get(champion.key)
        if found is None:
            raise ArtifactError(f"the bundle of the champion {champion.key} is gone from {home}; name a model")
        return found
    bundles = store.all(BUNDLE)
    if not bundles:
        raise ArtifactError(f"there is no model bundle in {home}; name a model, or build one with wakeword run")
    log.warning("%r has no champion in %s: the bundle built last is taken", config.phrase, home)
    return bundles[-1]
