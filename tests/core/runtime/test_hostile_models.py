"""Models that are not ours: what they may not do is refused when they are opened, in one sentence."""

import json
from itertools import pairwise

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import CARD, bursts, edited, save_model

from wakeword_core.errors import ArtifactError
from wakeword_core.runtime import WakewordModel, onnx_file


def test_models_that_are_not_ours(tmp_path) -> None:
    cases = {
        "carries no": {"key": "other"},
        "not JSON": {"card": "{"},
        "not a JSON object": {"card": "[]"},
        "lacks 'threshold'": {"card": {k: v for k, v in CARD.items() if k != "threshold"}},
        "cannot be used": {"card": {**CARD, "frontend": {"n_mels": -1}}},
        "lacks .threshold.\\)": {"card": {**CARD, "operating_points": {"strict": {}}}},
        "promises": {"n_mels": 8},
    }
    for message, change in cases.items():
        with pytest.raises(ArtifactError, match=message):
            WakewordModel(save_model(tmp_path / "m.onnx", **change))
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        WakewordModel(tmp_path / "text.onnx")
    with pytest.raises(ArtifactError, match="no model at"):
        WakewordModel(tmp_path)
    with (tmp_path / "m.onnx").open("ab") as file:
        file.truncate(256 * 2**20 + 1)
    with pytest.raises(ArtifactError, match="more than the 256 MB"):
        WakewordModel(tmp_path / "m.onnx")


def adding(operator, inputs=("log_mel",), constants=None, domain="", **attributes):
    """Put a node of one more result into the graph, before all others, with constants of its own."""

    def edit(model) -> None:
        for name, values in (constants or {}).items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        model.graph.node.insert(0, helper.make_node(operator, list(inputs), ["added"], domain=domain, **attributes))

    return edit


def from_disk(tensor) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def outside(tensor=None):
    tensor = tensor or numpy_helper.from_array(np.zeros(4, np.float32), "stolen")
    from_disk(tensor)
    return tensor


def branch(*nodes, constants=()):
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), "branch", [], [result], list(constants))


def doubled(name: str, times: int, result: str) -> list:
    names = [name, *(f"{name}{turn}" for turn in range(times - 1)), result]
    return [helper.make_node("Concat", [one, one], [two], axis=0) for one, two in pairwise(names)]


def choosing(*nodes, constants=()):
    """A branch that is never taken holds the nodes; a runtime computes what is constant in it all the same."""
    half = numpy_helper.from_array(np.zeros(1, np.float32), "half")
    other = branch(helper.make_node("Identity", ["half"], ["result"]), constants=[half])
    return adding("If", ["never"], {"never": False}, then_branch=branch(*nodes, constants=constants), else_branch=other)


def growing(model) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "seed"))
    model.graph.node.extend(doubled("seed", 40, "grown"))


def function(model) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 18)]))


LOOP = helper.make_graph(
    [helper.make_node("Identity", ["go"], ["on"])],
    "loop",
    [
        helper.make_tensor_value_info("turn", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ],
    [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
)
HOSTILE = {
    "another file": lambda model: from_disk(model.graph.initializer[0]),
    "another file in an attribute": adding("Constant", [], value=outside()),
    "another file in a branch": choosing(
        helper.make_node("Identity", ["stolen"], ["result"]), constants=[outside()]
    ),
    "a loop": adding("Loop", ["many", "always"], {"many": 2**62, "always": True}, body=LOOP),
    "a loop in a branch": choosing(
        helper.make_node("Loop", ["", ""], ["result"], body=LOOP)
    ),
    "branches in branches": choosing(
        helper.make_node("If", ["never"], ["result"], then_branch=branch(
            helper.make_node("If", ["never"], ["result"], then_branch=branch(), else_branch=branch())
        ), else_branch=branch())
    ),
    "an operator of somebody's": adding("Anything", domain="com.example"),
    "a random operator": adding("RandomNormal", [], shape=[2]),
    "functions": function,
    "a tensor of 2^40": adding("ConstantOfShape", ["size"], {"size": [2**40]}),
    "a tensor of 2^30": adding("ConstantOfShape", ["size"], {"size": [2**30]}),
    "a tensor of 2^30 in a branch": choosing(
        helper.make_node("ConstantOfShape", ["size"], ["result"]),
        constants=[numpy_helper.from_array(np.asarray([2**30]), "size")],
    ),
    "an expanded tensor": adding("Expand", ["one", "size"], {"one": np.float32(1), "size": [2**15, 2**15]}),
    "a long range": adding("Range", ["from", "to", "by"], {"from": 0, "to": 2**30, "by": 1}),
    "a tensor that doubles": growing,
    "a tensor that doubles in a branch": choosing(
        *doubled("seed", 40, "result"), constants=[numpy_helper.from_array(np.zeros(2, np.float32), "seed")]
    ),
    "a constant of wrong size": lambda model: model.graph.initializer[0].dims.__setitem__(0, 2**50),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_model_that_does_what_none_of_ours_does_is_refused(tmp_path, monkeypatch, what) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"WAKEWORD_TOKEN=x")
    with pytest.raises(ArtifactError, match=str(tmp_path / "m.onnx")):
        WakewordModel(edited(tmp_path / "m.onnx", HOSTILE[what]))


def test_a_first_run_that_takes_too_long_is_broken_off(tmp_path, monkeypatch) -> None:
    def slow(model) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.eye(512, dtype=np.float32), "eye0"))
        for turn in range(200):
            model.graph.node.append(helper.make_node("MatMul", [f"eye{turn}", "eye0"], [f"eye{turn + 1}"]))

    monkeypatch.setattr(onnx_file, "_TRIAL_SECONDS", 0.1)
    with pytest.raises(ArtifactError, match=r"takes more than 0\.1 s"):
        WakewordModel(edited(tmp_path / "m.onnx", slow))


def giving(operator, *more, kind=TensorProto.FLOAT, shape=("batch", 2), **attributes):
    """Replace what gives the scores."""

    def edit(model) -> None:
        for index, values in enumerate(more):
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), f"more{index}"))
        names = [f"more{index}" for index in range(len(more))]
        model.graph.node[-1].CopyFrom(helper.make_node(operator, ["l", *names], ["scores"], **attributes))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("scores", kind, shape))

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (giving("Mul", np.float32(np.nan)), "numbers from 0 to 1"),
        (giving("Add", np.float32(7)), "numbers from 0 to 1"),
        (giving("Flatten", axis=0, shape=None), r"float32 \[1, 4\]"),
        (giving("Cast", kind=TensorProto.DOUBLE, to=TensorProto.DOUBLE), "float64"),
        (giving("Cast", kind=TensorProto.STRING, to=TensorProto.STRING), "object|first run"),
        (giving("Concat", np.zeros((2, 1), np.float32), axis=1, shape=None), r"\[2, 3\]"),
        (giving("Reshape", np.asarray([1, 2]), shape=None), "first run"),
    ],
)
def test_scores_that_are_none_are_told_when_the_model_is_opened(tmp_path, edit, said) -> None:
    with pytest.raises(ArtifactError, match=said):
        WakewordModel(edited(tmp_path / "m.onnx", edit))


def test_scores_that_become_none_are_told_when_they_do(tmp_path) -> None:
    """The logarithm of a window's sum is a number for some windows alone."""

    def edit(model) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
        model.graph.node.extend([
            helper.make_node("ReduceSum", ["log_mel"], ["sum"], keepdims=0),
            helper.make_node("Sub", ["half", "sum"], ["left"]),
            helper.make_node("Sqrt", ["left"], ["root"]),
            helper.make_node("Mul", ["soft", "root"], ["scores"]),
        ])  # fmt: skip
        model.graph.node[2].output[0] = "soft"

    model = WakewordModel(edited(tmp_path / "m.onnx", edit))
    with pytest.raises(ArtifactError, match="numbers from 0 to 1"):
        model.score_windows(np.ones((1, 16, 51), np.float32))


@pytest.mark.parametrize(
    "card",
    [
        *({**CARD, "sample_rate": rate} for rate in (0, -16_000, 3_999, 10**15, 192_001, "fast", None, [16_000])),
        *({**CARD, "threshold": threshold} for threshold in (-0.1, 1.5, "high", None, 10**400)),
        *({**CARD, "labels": labels} for labels in ([], ["a"], ["a", "b", "c"], "ab", [1, 2], {"a": 1}, None)),
        *({**CARD, "operating_points": points} for points in ([], None, {"strict": 0.5}, {"strict": {"threshold": 2}})),
        {**CARD, "phrase": ["hey"]}, {**CARD, "phrase": "x" * 10**6}, {**CARD, "frontend": 1}, {**CARD, "detector": []},
        {**CARD, "detector": {**CARD["detector"], "smoothing": 10**9}},
        *({**CARD, "handicaps": given} for given in (3, {"hey robin": 0}, {"hey robin": 1e8}, {"hey": 2.0})),
        json.dumps(CARD).replace("0.6", "NaN"), json.dumps(CARD).replace("0.6", "Infinity"),
        json.dumps(CARD).replace("0.6", "1e999"), json.dumps({**CARD, "keys": 0}).replace('"keys": 0', '"keys": 1e999'),
        json.dumps(CARD).replace("hey robin", "\\ud800"), "[" * 200_000, '{"phrase":' * 200_000, "", "null",
    ],
)  # fmt: skip
def test_a_card_that_says_what_cannot_be_is_one_sentence(tmp_path, card) -> None:
    with pytest.raises(ArtifactError, match=r"the card in|labels"):
        WakewordModel(save_model(tmp_path / "m.onnx", card))


def test_whatever_bytes_change_the_model_works_or_one_sentence_says_why_not(tmp_path) -> None:
    data = save_model(tmp_path / "m.onnx").read_bytes()
    generator = np.random.default_rng(7)
    opened = 0
    for _ in range(150):
        changed = bytearray(data)
        # weights are most of the file; a change of what is around them is more telling
        places = np.concatenate([generator.integers(0, 300, 3), generator.integers(len(data) - 1_500, len(data), 9)])
        for place in places[: generator.integers(1, 13)]:
            changed[place] = generator.integers(256)
        (tmp_path / "m.onnx").write_bytes(changed)
        try:
            model = WakewordModel(tmp_path / "m.onnx")
            model.detect(bursts(0.2))
            opened += 1
        except ArtifactError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert opened < 150
