"""A file is known to be a model that ESPHome runs, or not to be one, without running it."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pymicro_wakeword
import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.export.tflite.flatbuffer import schema
from wakeword_core.export.tflite.limits import OPERATORS
from wakeword_core.export.tflite.reading import parse_tflite, read_tflite
from wakeword_core.export.tflite.sound import problems_in, require_sound

OFFICIAL = sorted((Path(pymicro_wakeword.__file__).parent / "models").glob("*.tflite"))
NAMES = schema()


@pytest.fixture(scope="module")
def good(trained_file: Path) -> bytes:
    return trained_file.read_bytes()


def edited(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The file with something else in it."""
    model = NAMES.ModelT.InitFromPackedBuf(bytearray(data), 0)
    change(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def operators(model: Any, name: str, graph: int = 0) -> list[Any]:
    number = getattr(NAMES.BuiltinOperator, name)
    return [
        one for one in model.subgraphs[graph].operators if model.operatorCodes[one.opcodeIndex].builtinCode == number
    ]


def tensor(model: Any, name: str, graph: int = 0) -> Any:
    (found,) = (one for one in model.subgraphs[graph].tensors if one.name.decode() == name)
    return found


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: path.stem)
def test_models_that_come_with_the_runtime_are_sound(path: Path) -> None:
    require_sound(path)


def test_there_are_official_models() -> None:
    assert [path.stem for path in OFFICIAL] == ["alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"]


def test_what_was_written_is_sound_and_reads_as_it_was_meant(trained_file: Path) -> None:
    require_sound(trained_file)
    main, start = read_tflite(trained_file)
    names = {operator.name for operator in main.operators}
    assert names <= OPERATORS
    (head,) = (operator for operator in main.operators if operator.name == "FULLY_CONNECTED")
    assert [main.tensors[index].shape for index in head.inputs] == [(1, 3, 1, 16), (1, 48), (1,)]
    assert len(start.operators) == 2 * 4  # the first layer, two of three blocks, and the head
    assert main.tensors[main.inputs[0]].shape == (1, 3, 40)


def rename(model: Any, operator: str, other: str) -> None:
    code = next(one for one in model.operatorCodes if one.builtinCode == getattr(NAMES.BuiltinOperator, operator))
    code.builtinCode = getattr(NAMES.BuiltinOperator, other)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def set_scale(model: Any, name: str, step: float, zero: int) -> None:
    tensor(model, name).quantization.scale = np.float32([step])
    tensor(model, name).quantization.zeroPoint = np.int64([zero])


def not_from_quiet(model: Any) -> None:
    model.buffers[tensor(model, "state_0", graph=1).buffer].data[3] = 0


def unfilled(model: Any) -> None:
    start = model.subgraphs[1]
    start.operators = start.operators[:-2]


def twenty_one_variables(model: Any) -> None:
    main = model.subgraphs[0]
    for number in range(17):
        handle = NAMES.TensorT()
        handle.name, handle.type, handle.shape = f"more_{number}", NAMES.TensorType.RESOURCE, np.int32([])
        main.tensors.append(handle)
        operator = NAMES.OperatorT()
        operator.opcodeIndex = operators(model, "VAR_HANDLE")[0].opcodeIndex
        operator.inputs, operator.outputs = np.int32([]), np.int32([len(main.tensors) - 1])
        operator.builtinOptionsType = NAMES.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = NAMES.VarHandleOptionsT()
        operator.builtinOptions.sharedName = f"more_{number}"
        main.operators.append(operator)


def reads_itself(model: Any) -> None:
    operators(model, "LOGISTIC")[0].inputs = operators(model, "LOGISTIC")[0].outputs


def short_weights(model: Any) -> None:
    buffer = model.buffers[tensor(model, "weight_0").buffer]
    buffer.data = buffer.data[:-1]


def fewer_steps(model: Any) -> None:
    tensor(model, "weight_0").quantization.scale = tensor(model, "weight_0").quantization.scale[:-1]


def test_the_pads_of_a_ds_cnn_are_looked_at(trained_ds_cnn_file: Path) -> None:
    require_sound(trained_ds_cnn_file)
    good = trained_ds_cnn_file.read_bytes()
    (main, _) = parse_tflite(good)
    assert sum(one.name == "PAD" for one in main.operators) == 3 and {one.name for one in main.operators} <= OPERATORS

    def other_pads(*values: int) -> Callable[[Any], None]:
        def change(model: Any) -> None:
            pads = model.subgraphs[0].tensors[operators(model, "PAD")[0].inputs[1]]
            model.buffers[pads.buffer].data = np.frombuffer(np.int32(values).tobytes(), np.uint8)

        return change

    assert problems_in(edited(good, other_pads(0, 0, 0, 0, 2, 3, 0, 0))) == []
    for wrong in ((0, 0, 0, 0, 3, 3, 0, 0), (0, 0, 0, 0, 2**30, 3, 0, 0), (0, 0, 0, 0, -1, 6, 0, 0)):
        assert "PAD cannot make [1, 15, 45, 1] of [1, 15, 40, 1], [4, 2]" in problems_in(
            edited(good, other_pads(*wrong))
        )
    louder = edited(good, lambda model: set_scale(model, "padded_0", 0.5, -128))
    assert "PAD changes the step" in problems_in(louder)[0]


DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "another operator": (lambda model: rename(model, "LOGISTIC", "TANH"), "TANH is not among those of ESPHome"),
    "SPLIT, which ESPHome lacks": (lambda model: rename(model, "RESHAPE", "SPLIT"), "operator SPLIT is not"),
    "another input scale": (lambda model: set_scale(model, "features", 0.1, -128), "instead of the step 0.101961"),
    "another input zero": (lambda model: set_scale(model, "features", 26 / 255, -127), "zero point -128"),
    "another output scale": (lambda model: set_scale(model, "wake_word", 1 / 255, 0), "instead of the step 1/256"),
    "a scale of zero": (lambda model: set_scale(model, "layer_0", 0.0, 0), "a step that is no positive number"),
    "a joint of two scales": (lambda model: set_scale(model, "state_1_and_new", 0.5, -128), "which it only moves"),
    "a score of another scale": (lambda model: set_scale(model, "score", 1 / 255, -128), "LOGISTIC gives"),
    "a zero point beyond int8": (lambda model: set_scale(model, "layer_1", 0.1, 200), "zero point that is no int8"),
    "state that is not zero": (not_from_quiet, "variable state_0 does not begin with what stands for zero"),
    "state that is never filled": (unfilled, "is not filled at first"),
    "too many variables": (twenty_one_variables, "it has 21 variables, more than the 20"),
    "a new schema": (lambda model: setattr(model, "version", 4), "schema has version 4, not 3"),
    "float input": (lambda model: setattr(tensor(model, "features"), "type", 0), "its input is FLOAT32"),
    "four frames": (
        lambda model: setattr(tensor(model, "features"), "shape", np.int32([1, 4, 40])), "its input is INT8 [1, 4, 40]",
    ),
    "two outputs": (
        lambda model: setattr(model.subgraphs[0], "outputs", np.int32([0, 1])), "1 inputs and 2 outputs",
    ),
    "a tensor before its time": (reads_itself, "LOGISTIC reads tensor score before it is computed"),
    "weights that are too short": (short_weights, "tensor weight_0 [16, 5, 1, 40] has 3199 bytes"),
    "fewer scales than channels": (fewer_steps, "tensor weight_0 has 15 steps"),
    "a stride of nothing": (
        lambda model: setattr(operators(model, "CONV_2D")[0].builtinOptions, "strideH", 0), "CONV_2D cannot make",
    ),
    "a tensor that is not there": (
        lambda model: setattr(operators(model, "LOGISTIC")[0], "inputs", np.int32([9999])), "tensor that there is not",
    ),
    "an operand too few": (
        lambda model: setattr(operators(model, "ADD")[0], "inputs", operators(model, "ADD")[0].inputs[:1]),
        "ADD reads 1 tensors",
    ),
    "a call of itself": (
        lambda model: setattr(operators(model, "CALL_ONCE")[0].builtinOptions, "initSubgraphIndex", 0),
        "calls subgraph 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damage_is_named_in_one_sentence(good: bytes, damage: str, tmp_path: Path) -> None:
    change, sentence = DAMAGE[damage]
    data = edited(good, change)
    assert sentence in problems_in(data)[0]
    (tmp_path / "model.tflite").write_bytes(data)
    with pytest.raises(ArtifactError, match="no model for a microcontroller") as raised:
        require_sound(tmp_path / "model.tflite")
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_editing_alone_changes_nothing(good: bytes) -> None:
    assert problems_in(edited(good, lambda model: None)) == []


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"\0" * 64, b"\x10\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 1000, b"RIFF" * 1000]
)
def test_junk_is_no_model(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "junk.tflite").write_bytes(data)
    with pytest.raises(ArtifactError, match="no model for a microcontroller"):
        require_sound(tmp_path / "junk.tflite")


def test_every_beginning_of_a_file_is_refused(good: bytes) -> None:
    for length in range(0, len(good) - 1, 997):
        assert problems_in(good[:length]), length


def test_flipped_bits_are_refused_or_harmless_to_read(good: bytes) -> None:
    generator, refused = np.random.default_rng(0), 0
    for _ in range(150):
        data = bytearray(good)
        data[generator.integers(len(data))] ^= 1 << generator.integers(8)
        refused += bool(problems_in(bytes(data)))  # and nothing else is raised
    assert refused > 20


def test_many_entries_that_are_one_are_not_read_for_ever(good: bytes) -> None:
    def repeat(model: Any) -> None:
        model.subgraphs[0].tensors = model.subgraphs[0].tensors * 40

    assert "of which at most 1000 are read" in problems_in(edited(good, repeat))[0]


def test_what_only_a_reader_of_every_offset_notices_is_refused_as_well(good: bytes, tmp_path: Path) -> None:
    data = bytearray(good)
    (root,) = struct.unpack_from("<I", data, 0)
    (back,) = struct.unpack_from("<i", data, root)
    data[root - back] += 1  # the bytes of the outermost table's index, which are even
    assert problems_in(bytes(data)) == []
    (tmp_path / "model.tflite").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"litert failed.*Flatbuffer"):
        require_sound(tmp_path / "model.tflite")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ArtifactError, match="more than the 262,144 bytes"):
        require_sound(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_tflite(tmp_path / "missing.tflite")


def test_numbers_outside_of_the_model_are_refused(good: bytes) -> None:
    def outside(model: Any) -> None:
        model.buffers[3].offset, model.buffers[3].size = 64, 64

    with pytest.raises(ValueError, match="outside of the model"):
        parse_tflite(edited(good, outside))
