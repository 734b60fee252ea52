"""Whole or altered, this home's or not, current or outdated."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundled_home import small_model
from onnx import ModelProto, numpy_helper

from wakeword_core.errors import ArtifactError
from wakeword_core.graph.verification import verify
from wakeword_core.runtime.exported import SEAL_KEY, seal
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.store.graph import Edge, Graph, Node

Edit = Callable[[ModelProto], None]


def weights(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def graph(model: ModelProto) -> None:
    model.graph.node[0].op_type = "Identity"


def card(model: ModelProto) -> None:
    entry = next(one for one in model.metadata_props if one.key == "wakeword")
    entry.value = entry.value.replace('"threshold":0.6', '"threshold":0.1')


def licence(model: ModelProto) -> None:
    entry = next(one for one in model.metadata_props if one.key == "wakeword_model_card")
    entry.value = entry.value.replace("not stated", "CC0-1.0")


def added(model: ModelProto) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = "more", "x"


def unreadable(model: ModelProto) -> None:
    next(one for one in model.metadata_props if one.key == SEAL_KEY).value = "[]"


def edited(home, folder: Path, edit: Edit) -> Path:
    model = onnx.load(home.bundle())
    edit(model)
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (weights, "weights"),
        (graph, "weights"),
        (card, "card"),
        (licence, "card"),
        (added, "card"),
        (unreadable, "card"),
    ],
)
def test_any_edit_is_found_without_a_home(home, tmp_path: Path, edit: Edit, what: str) -> None:
    found = verify(edited(home, tmp_path, edit), ArtifactStore(tmp_path / "nowhere"), None)
    assert found.verdict == "altered" and what in found.sentence


def test_an_unaltered_file_is_whole_anywhere_and_current_at_home(home, tmp_path: Path) -> None:
    assert verify(home.bundle(), ArtifactStore(tmp_path / "nowhere"), None).verdict == "whole"
    assert verify(home.bundle(), home.store, None).verdict == "matches"
    for stage in ("model_bundle", "onnx_model"):
        folder = home.project().require(stage).path
        found = verify(folder, home.store, home.project())
        assert found.verdict == "current" and found.outdated == ()


def test_an_older_model_is_outdated_by_what_changed_since(home) -> None:
    older = next(one for one in home.store.cards() if one.stage == "model_bundle")
    found = verify(older.file("model.onnx"), home.store, home.project())
    assert found.verdict == "outdated"
    assert {one.name: one.because for one in found.outdated} == {"trained_model": "training.schedule.epochs 1 → 2"}


def test_a_model_is_outdated_by_newer_recordings(own_home) -> None:
    (own_home.folder / "recordings" / "spoken" / "speaker0000" / "new.wav").write_bytes(b"new")
    found = verify(own_home.bundle_of_the_store(), own_home.store, own_home.project())
    assert found.verdict == "outdated"
    assert {one.name: one.because for one in found.outdated} == {"raw_manifest": "recordings: 1 added"}


def test_who_seals_an_edit_anew_is_found_at_home(home, tmp_path: Path) -> None:
    def resealed(model: ModelProto) -> None:
        weights(model)
        seal(model)

    path = edited(home, tmp_path, resealed)
    assert verify(path, ArtifactStore(tmp_path / "nowhere"), None).verdict == "whole"  # it is no signature
    assert verify(path, home.store, None).verdict == "differs"


def test_a_file_without_a_seal_can_be_judged_at_home_only(home, tmp_path: Path) -> None:
    def unsealed(model: ModelProto) -> None:
        kept = [one for one in model.metadata_props if one.key != SEAL_KEY]
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        del model.metadata_props[:]
        model.metadata_props.extend(copies)

    path = edited(home, tmp_path, unsealed)
    assert verify(path, ArtifactStore(tmp_path / "nowhere"), None).verdict == "unsealed"
    assert verify(path, home.store, None).verdict == "altered"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
def test_what_is_no_model_of_ours_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ArtifactError):
        verify(tmp_path / "a.onnx", ArtifactStore(tmp_path), None)


def test_a_card_that_is_not_json_is_said(tmp_path: Path) -> None:
    model = small_model({})
    model.metadata_props[0].value = "{"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ArtifactError, match="not JSON"):
        verify(tmp_path / "a.onnx", ArtifactStore(tmp_path), None)


def chain(length: int) -> list[dict]:
    keys = [f"{number:020x}" for number in range(length)]
    return [
        {"name": "stage", "key": key, "created": "", "code_version": "", "inputs": {f"stage{index}": other}}
        for index, (key, other) in enumerate(pairwise(keys))
    ]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(("lineage", value) for value in (None, [], {}, [None], "x", [{"name": "stage"}], chain(5_000))),
        *(("lineage.0.key", value) for value in (7, "../../../../evil", "", "F" * 20, ["a"])),
        *(("lineage.0.name", value) for value in ("../up", "a/b", "", None, "x" * 10**6)),
        *(("lineage.0.inputs", value) for value in ([], "ab", {"stage": "../up"}, {"a": 1})),
        *(("data", value) for value in (None, [], {}, "x")),
        *(("data.sources", value) for value in (None, [1], [{}], {"a": 1})),
        *(("data.sources.0.commercial_use", value) for value in ("perhaps", None)),
        *(("data.hours", value) for value in ("long", -1, 10**400)),
        *(("metrics", value) for value in (None, [], {}, {"test": 3})),
        *(("metrics.test.frr", value) for value in ("few", [0.1])),
        ("created", 2_026),
    ],
)
def test_a_whole_card_of_another_shape_is_one_sentence(home, tmp_path: Path, place: str, value: object) -> None:
    def other(model: ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == "wakeword_model_card")
        tree = json.loads(entry.value)
        *around, last = (int(part) if part.isdecimal() else part for part in place.split("."))
        inner = tree
        for part in around:
            inner = inner[part]
        inner[last] = value
        entry.value = json.dumps(tree)

    with pytest.raises(ArtifactError, match=r"edited\.onnx cannot be used") as error:
        verify(edited(home, tmp_path, other), home.store, None)
    assert "\n" not in str(error.value)


def test_a_dense_lineage_is_walked_at_once() -> None:
    """Every artifact has all earlier ones as inputs: of each only the nearest is shown."""
    nodes = [
        Node("stage", f"{number:04x}", inputs=tuple(Edge("stage", "stage", f"{one:04x}", "") for one in range(number)))
        for number in range(100)
    ]
    graph = Graph(nodes)
    assert [[one.key for one in graph.direct_inputs(node)] for node in nodes[1:]] == [[one.key] for one in nodes[:-1]]
