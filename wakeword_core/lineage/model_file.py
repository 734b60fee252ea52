"""Reading an exported model file for its history: only what travels in the file, without a session or a home."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.lineage.recordings import Permission
from wakeword_core.runtime.exported import MODEL_CARD_KEY, Seal, check_seal
from wakeword_core.store.graph import Keys, Node, NodeEntry, Text

_EXPORTED = "onnx_model"


_Count = Annotated[int, Field(ge=0, le=10**12)]
_Figure = Annotated[float, Field(ge=0, le=1e12)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Entry(NodeEntry):
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{4,64}$")]


class _Source(_Part):
    source: Text
    licence: Text
    commercial_use: Permission
    recordings: _Count
    hours: _Figure
    speakers: _Count
    splits: dict[Text, _Count]


class _Data(_Part):
    recordings: _Count
    hours: _Figure
    speakers: _Count
    unknown_speakers: _Count
    splits: dict[Text, _Count]
    sources: list[_Source] = Field(max_length=100_000)


class _Test(_Part):
    words: _Count
    frr: _Figure | None
    fah: _Figure | None
    background_hours: _Figure | None


class _Metrics(_Part):
    test: _Test


class _ModelCard(_Part):
    """What is read of the whole card; a model has some dozen artifacts behind it."""

    created: Text
    metrics: _Metrics
    data: _Data
    lineage: list[_Entry] = Field(min_length=1, max_length=200)


class _Keys(_Part):
    keys: Keys = Field(default_factory=dict)


@dataclass(frozen=True)
class ModelFile:
    """A model file and the cards in it."""

    path: Path
    sha256: str
    seal: Seal
    card: Mapping[str, Any]
    """The card that the runtime reads."""
    model_card: Mapping[str, Any] | None
    """The whole card; only the float model of a bundle has one."""

    @property
    def keys(self) -> dict[str, str]:
        """Return the keys of everything that the model was made from, by name."""
        return dict(self.card.get("keys", {}))

    def nodes(self) -> list[Node]:
        """Return the graph in the file, the model first; without a whole card, all keys are inputs of the model."""
        if self.model_card is not None:
            return [Node.from_json(entry) for entry in self.model_card["lineage"]]
        keys = self.keys
        inputs = {name: key for name, key in sorted(keys.items()) if name != _EXPORTED}
        tree = {"name": _EXPORTED, "key": keys.get(_EXPORTED, ""), "created": "", "code_version": "", "inputs": inputs}
        return [Node.from_json(tree)]


def read_model_file(path: Path) -> ModelFile:
    """Read the cards of an exported model, a file or the folder that holds it; ArtifactError if it is not one."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.exported import model_file, parse_card, read_card, runtime_card
    from wakeword_core.runtime.onnx_file import read_onnx

    file = read_onnx(model_file(path, WakewordModel.names))
    card, text = runtime_card(file), file.metadata.get(MODEL_CARD_KEY)
    model_card = None if text is None else parse_card(text, file.path)
    if model_card is not None:
        read_card(_ModelCard, model_card, file.path)
    read_card(_Keys, card, file.path)
    try:
        seal = check_seal(onnx.load_model_from_string(file.data))
    except (DecodeError, ValueError) as error:
        raise ArtifactError(f"{file.path} is not an ONNX model ({reason_of(error)})") from error
    return ModelFile(file.path, file.sha256, seal, card, model_card)
