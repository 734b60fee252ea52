"""Files in openWakeWord's format, looked at before a runtime has them: its runtimes take whatever they are given."""

from pathlib import Path
from typing import Any

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.export.tflite.reading import parse_tflite
from wakeword_core.runtime.onnx_file import read_onnx

NUMBERS = 96
"""Of an embedding."""
_MOST_BYTES = 64 * 2**20
"""Of a TensorFlow Lite file; a head of the most channels has 11 MB, the usual four of the usual ones 0.2."""
_TYPES = {"tensor(float)": "FLOAT32"}
"""What onnxruntime calls a type that TensorFlow Lite has another name for."""

Ends = list[tuple[str, tuple[Any, ...]]]
"""The types and shapes of a file's inputs and outputs."""


def steps_taken(path: Path) -> int:
    """Return how many embeddings a file takes at once.

    ArtifactError for a file that is damaged, or that is none of openWakeWord's by what goes in and what comes out: its
    runtimes do not look, and take what they find in memory for scores.
    """
    inputs, outputs = (_ends_of_tflite if path.suffix == ".tflite" else _ends_of_onnx)(path)
    match inputs, outputs:
        case [("FLOAT32", (1, int(steps), width))], [("FLOAT32", (1, 1))] if width == NUMBERS:
            return steps
    raise ArtifactError(
        f"{path} takes {_said(inputs)} and gives {_said(outputs)}, but a model of openWakeWord's takes FLOAT32 "
        f"[1, steps, {NUMBERS}] and gives FLOAT32 [1, 1]; build openwakeword_model again"
    )


def _said(ends: Ends) -> str:
    return " and ".join(f"{kind} {list(shape)}" for kind, shape in ends) or "nothing"


def _ends_of_tflite(path: Path) -> tuple[Ends, Ends]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        main = parse_tflite(data)[0]
        indices = (*main.inputs, *main.outputs)
        if any(not 0 <= index < len(main.tensors) for index in indices):
            raise ValueError("what goes in or comes out is a tensor that there is not")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be used ({reason_of(error)}); build openwakeword_model again") from error
    inputs, outputs = (
        [(main.tensors[index].kind, main.tensors[index].shape) for index in one] for one in (main.inputs, main.outputs)
    )
    return inputs, outputs


def _ends_of_onnx(path: Path) -> tuple[Ends, Ends]:
    trial = read_onnx(path).trial()
    inputs, outputs = (
        [(_TYPES.get(one.type, one.type), tuple(one.shape)) for one in ends]
        for ends in (trial.get_inputs(), trial.get_outputs())
    )
    return inputs, outputs
