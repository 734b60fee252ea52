"""A digest inside an ONNX file of its graph and of its card, so that the file alone can tell whether it was altered.

It guards against accidents and careless edits. It is no signature: who edits a file knowingly can seal it anew.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Literal

from wakeword_core.files import canonical_json, digest

if TYPE_CHECKING:
    from onnx import ModelProto

SEAL_KEY = "wakeword_seal"
"""Entry of `metadata_props` that holds the digests as JSON."""

Seal = Literal["whole", "graph altered", "card altered", "unsealed"]


def seal(model: "ModelProto") -> None:
    """Store the digests of the model's graph (weights and nodes) and of its other metadata in its metadata."""
    properties = _properties(model)
    properties[SEAL_KEY] = canonical_json(_digests(model))
    del model.metadata_props[:]
    for name, value in properties.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value


def check_seal(model: "ModelProto") -> Seal:
    """Whether the model is as it was sealed, and what is not; a seal that cannot be read counts as an altered card."""
    stored = next((entry.value for entry in model.metadata_props if entry.key == SEAL_KEY), None)
    if stored is None:
        return "unsealed"
    found = _digests(model)
    try:
        sealed = json.loads(stored)
        graph, card = sealed["graph"], sealed["card"]
    except (ValueError, TypeError, KeyError):
        return "card altered"
    if graph != found["graph"]:
        return "graph altered"
    return "whole" if card == found["card"] else "card altered"


def _digests(model: "ModelProto") -> dict[str, str]:
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    graph = hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
    return {"graph": graph, "card": digest([graph, _properties(model)])}


def _properties(model: "ModelProto") -> dict[str, str]:
    """The metadata without the seal."""
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != SEAL_KEY}
