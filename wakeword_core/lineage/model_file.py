"""Reading an exported model file for its history: only what travels in the file, without a session or a home."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wakeword_core.errors import ArtifactError
from wakeword_core.files import hash_file
from wakeword_core.runtime.exported import MODEL_CARD_KEY, Seal, check_seal
from wakeword_core.store.graph import Node

_EXPORTED = "onnx_model"


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
        keys = self.card.get("keys")
        return {str(name): str(key) for name, key in keys.items()} if isinstance(keys, dict) else {}

    def nodes(self) -> list[Node]:
        """Return the graph in the file, the model first; without a whole card, all keys are inputs of the model."""
        if self.model_card is not None:
            entries = self.model_card.get("lineage")
            if not isinstance(entries, list) or not entries:
                raise ArtifactError(f"the model card in {self.path} names no lineage; export the model again")
            return [Node.from_json(entry) for entry in entries]
        keys = self.keys
        inputs = {name: key for name, key in sorted(keys.items()) if name != _EXPORTED}
        tree = {"name": _EXPORTED, "key": keys.get(_EXPORTED, ""), "created": "", "code_version": "", "inputs": inputs}
        return [Node.from_json(tree)]


def read_model_file(path: Path) -> ModelFile:
    """Read the cards of an exported model, a file or the folder that holds it; ArtifactError if it is not one."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.exported import CARD_KEY, model_file, parse_card

    file = model_file(path, WakewordModel.names)
    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ArtifactError(f"{file} is not an ONNX model ({' '.join(str(error).split())[:100]})") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if CARD_KEY not in properties:
        raise ArtifactError(f"{file} carries no {CARD_KEY!r} card, so it was not exported by this project")
    model_card = parse_card(properties[MODEL_CARD_KEY], file) if MODEL_CARD_KEY in properties else None
    return ModelFile(file, hash_file(file), check_seal(model), parse_card(properties[CARD_KEY], file), model_card)
