"""Finished models that a configuration names: by a key of the home, or by the path of a file or folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wakeword_core.config.base import is_key
from wakeword_core.errors import ConfigError
from wakeword_core.files import content_hash, digest
from wakeword_core.runtime.exported import (
    FP16_FILE,
    INT8_FILE,
    JUDGE_FILE,
    MODEL_FILE,
    WEIGHTS_CARD,
    WEIGHTS_FILE,
)
from wakeword_core.stage_names import BUNDLE, JUDGE, MODEL
from wakeword_core.store.artifacts import KEY_LENGTH, Artifact, ArtifactStore, artifact_name
from wakeword_core.store.graph import Graph, Node

OUTSIDE = "outside_model"
"""What stands for a stage where no artifact of the home is the model."""
START = "start"
"""The part that a model plays from which a training goes on."""
SECOND = "second_judge"
"""The part that a judge of another build plays which is asked after the first."""
_SETTINGS = {START: "training.start_from", SECOND: "judge.second"}
_WEIGHTS = (WEIGHTS_FILE, WEIGHTS_CARD)
_CALIBRATED = "calibrated_model"
_MADE_FROM = {
    BUNDLE: MODEL, MODEL: _CALIBRATED, "int8_model": MODEL, "fp16_model": MODEL, "torch_program": _CALIBRATED,
    "tflite_model": _CALIBRATED, "judged_model": JUDGE,
}  # fmt: skip
"""Stage of a model that is handed on -> the stage whose artifact it is another form of."""
_MODELS = ("trained_model", "tuned_model", _CALIBRATED, JUDGE)
"""Stages whose artifacts are models as they were trained."""
_IN_A_FOLDER = (MODEL_FILE, FP16_FILE, INT8_FILE, JUDGE_FILE)


@dataclass(frozen=True)
class GivenModel:
    """A finished model: the folder of its weights, or its exported file; and what it is to lineage."""

    name: str
    """As the configuration names it."""
    path: Path
    stage: str
    key: str
    content: str

    @property
    def source(self) -> dict[str, str]:
        """Return it as an input of an artifact."""
        return {"stage": self.stage, "key": self.key, "content": self.content}

    @property
    def has_weights(self) -> bool:
        """Return whether it is a folder of weights that training can go on from."""
        return self.path.is_dir()


def setting_of(part: str) -> str:
    """Return the setting that names the model which plays a part; those that are numbered are teachers."""
    return _SETTINGS.get(part, "training.teacher.models")


def inputs_of(models: Mapping[str, GivenModel]) -> dict[str, dict[str, str]]:
    """Return models by part as inputs of an artifact, whose names are like calibrated_model[teacher_1]."""
    return {artifact_name(model.stage, part): model.source for part, model in models.items()}


def find_given(name: str, store: ArtifactStore) -> GivenModel:
    """Find a model by its key, or the beginning of it, in a store, or by its path.

    Of a model that the store made, what counts is the form that was trained, from whatever form it is named by, if that
    is still there. ConfigError where there is no such model.
    """
    return _given(name, _artifact(name, store), store)


def given_champion(key: str, store: ArtifactStore) -> GivenModel:
    """Return the champion with that key as it was trained; ConfigError where its files are gone."""
    exported = store.find(MODEL, key)
    if exported is None:
        raise ConfigError(
            f"training.start_from is champion, but the files of the champion {key} are gone or damaged; build it "
            "again, or set it to null to begin with random weights"
        )
    return _given(f"the champion {key}", exported, store)


def trained_behind(key: str, store: ArtifactStore) -> Artifact | None:
    """Return the training that an exported model came of, before its tuning; None where that is gone."""
    found = store.find(MODEL, key)
    for stage in (_CALIBRATED, "tuned_model", "trained_model"):
        found = found and _made_from(found, stage, store)
    return found


def start_of(trained: Artifact, store: ArtifactStore) -> GivenModel | None:
    """Return the model that a training went on from, whose files may be gone; None where it began anew."""
    for edge in Node.of_artifact(trained).inputs:
        if edge.part == START:
            return GivenModel(edge.key, store.root / edge.stage / edge.key, edge.stage, edge.key, edge.content)
    return None


def _given(name: str, artifact: Artifact | None, store: ArtifactStore) -> GivenModel:
    trained = None if artifact is None else _as_trained(artifact, store)
    if trained is not None:
        path = trained.file(JUDGE_FILE) if trained.stage == JUDGE else trained.path
        return GivenModel(name, path, trained.stage, trained.key, trained.content)
    path = _file_or_weights(Path(name) if artifact is None else artifact.path)
    if artifact is not None:
        return GivenModel(name, path, artifact.stage, artifact.key, artifact.content)
    content = digest([content_hash(path / file) for file in _WEIGHTS]) if path.is_dir() else content_hash(path)
    return GivenModel(name, path, OUTSIDE, content[:KEY_LENGTH], content)


def _artifact(name: str, store: ArtifactStore) -> Artifact | None:
    """Find the artifact that a key or a path in the store names; None for a path elsewhere."""
    from wakeword_core.lineage.subjects import artifact_around, named  # which need numpy

    graph, path = Graph.of_store(store), Path(name)
    node = named(name, graph) if is_key(name) else artifact_around(path, graph)
    if node is None and is_key(name):
        raise ConfigError(f"{store.root} has no model with the key {name!r}; `wakeword models` lists keys")
    if node is None or node.artifact is None:
        return None
    artifact = store.find(node.stage, node.key)
    if artifact is None or artifact.stage not in (*_MODELS, *_MADE_FROM):
        raise ConfigError(f"{name!r} is {node.name} {node.key}, which is no model that can be used; name a model")
    # a bundle's judge is another model than the one beside it
    of_judge = not is_key(name) and path.name == JUDGE_FILE and artifact.stage == BUNDLE
    return _made_from(artifact, "judged_model", store) if of_judge else artifact


def _as_trained(artifact: Artifact, store: ArtifactStore) -> Artifact | None:
    """Return the artifact that one is another form of, as it was trained; None where that is gone."""
    found: Artifact | None = artifact
    while found and found.stage in _MADE_FROM:
        found = _made_from(found, _MADE_FROM[found.stage], store)
    return found


def _made_from(artifact: Artifact, stage: str, store: ArtifactStore) -> Artifact | None:
    return store.find(stage, artifact.inputs[stage]["key"]) if stage in artifact.inputs else None


def _file_or_weights(path: Path) -> Path:
    """Return a folder that has weights, or else the file that is the model; ConfigError where there is neither."""
    if path.is_dir() and all((path / name).is_file() for name in _WEIGHTS):
        return path
    candidates = [path / name for name in _IN_A_FOLDER] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ConfigError(
            f"there is no model at {path}; name a key that `wakeword models` lists, an exported .onnx file, or the "
            "folder of a model"
        )
    return file
