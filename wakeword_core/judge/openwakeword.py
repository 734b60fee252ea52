"""The heads of a judge in openWakeWord's format: for each word an ONNX file and one of TensorFlow Lite, in float32.

Both take the latest embeddings [1, steps, 96] and give the word's score [1, 1]. The steps are those that the heads
look at, and openWakeWord reads off a file how many that is; its own models take 16.
"""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from onnx import ModelProto, helper
from torch import nn

from wakeword_core.errors import ArtifactError
from wakeword_core.export.onnx_graph import compact, set_card, write_model
from wakeword_core.export.openwakeword import steps_taken
from wakeword_core.export.stream_graph import StreamGraph
from wakeword_core.export.tflite.flatbuffer import TfliteFile, TfliteGraph
from wakeword_core.export.tflite.network import Convolution, Network, normalising, numbers, taps, with_norm
from wakeword_core.export.tflite.runtimes import LITERT_WINDOWS, ONNX, PYOPEN, score_windows
from wakeword_core.files import replacing
from wakeword_core.judge.head import JudgeHead, JudgeHeads
from wakeword_core.runtime.exported import SCORES

RUNTIMES = {".onnx": (ONNX,), ".tflite": (LITERT_WINDOWS, PYOPEN)}
"""The runtimes in which openWakeWord and its kin run a file, by its suffix."""
_INPUT = "embeddings"


def networks_of_word(heads: JudgeHeads, word: int, shift: float = 0.0) -> list[Network]:
    """Return what each head adds to the log-odds of one of its words, the first of which is 0.

    The sum is the mean of what the heads say, lower by `shift`. Mean, deviation and batch norms are in the weights.
    """
    share = 1 / len(heads.heads)
    return [_network_of(head, word, share).shifted(shift * share) for head in heads.heads]


def _network_of(head: JudgeHead, word: int, share: float) -> Network:
    *hidden, last = (layer for layer in head.layers if isinstance(layer, nn.Conv1d))
    norms = (layer for layer in head.layers if isinstance(layer, nn.BatchNorm1d))
    first, *others = (with_norm(layer, norm, relu=True) for layer, norm in zip(hidden, norms, strict=True))
    first = normalising(first, numbers(head.mean), numbers(head.deviation))
    own = slice(word, word + 1)
    final = Convolution(taps(last)[own] * share, numbers(cast(torch.Tensor, last.bias))[own] * share)
    return Network((first, *others, final)).in_numpy


def write_word(networks: Sequence[Network], onnx: Path, card: Mapping[str, Any], opset: int) -> None:
    """Write the ONNX file of a word, with a card in it, and beside it that of TensorFlow Lite.

    The score is that of the sum of what the networks give. The same networks give the same bytes.
    """
    onnx.parent.mkdir(exist_ok=True)
    graph = _onnx_of(networks, opset)
    set_card(graph, dict(card))
    write_model(graph, onnx)
    with replacing(onnx.with_suffix(".tflite")) as part:
        part.write_bytes(_tflite_of(networks))


def _layers(network: Network) -> tuple[Convolution, ...]:
    return cast(tuple[Convolution, ...], network.layers)


def _tflite_of(networks: Sequence[Network]) -> bytes:
    graph = TfliteGraph("main")
    file, steps, width = TfliteFile([graph]), networks[0].receptive_field, networks[0].bands
    graph.inputs.append(file.tensor(graph, _INPUT, (1, steps, width)))
    source = file.reshaped(graph, "steps", graph.inputs[0], (1, steps, 1, width))
    whole, *others = (_tflite_odds(file, source, number, network) for number, network in enumerate(networks))
    for number, one in enumerate(others):
        both = [whole, one]
        whole = file.tensor(graph, f"sum_{number}", (1, 1))
        file.operator(graph, "ADD", both, [whole], "AddOptions")
    graph.outputs.append(file.tensor(graph, SCORES, (1, 1)))
    file.operator(graph, "LOGISTIC", [whole], graph.outputs)
    return file.packed()


def _tflite_odds(file: TfliteFile, source: int, number: int, network: Network) -> int:
    """Add the layers of a network; returns the tensor of its log-odds [1, 1]."""
    (graph,), steps = file.graphs, network.receptive_field
    for place, layer in enumerate(_layers(network)):
        weight, bias = (values.astype(np.float32) for values in (layer.weight, layer.bias))
        name = f"{number}_{place}"
        constants = (file.constant(graph, f"weight_{name}", weight), file.constant(graph, f"bias_{name}", bias))
        steps -= layer.remembered
        before, source = source, file.tensor(graph, f"layer_{name}", (1, steps, 1, len(bias)))
        file.convolve(graph, layer, [before, *constants], source)
    return file.reshaped(graph, f"log_odds_{number}", source, (1, 1))


def _onnx_of(networks: Sequence[Network], opset: int) -> ModelProto:
    graph = StreamGraph()
    source = graph.add("Transpose", _INPUT, perm=[0, 2, 1])
    odds = reduce(partial(graph.add, "Add"), [_onnx_odds(graph, source, network) for network in networks])
    graph.add("Sigmoid", graph.add("Flatten", odds), to=SCORES)
    # of one window at a time, as openWakeWord's own
    ends = (_INPUT, (1, networks[0].receptive_field, networks[0].bands)), (SCORES, (1, 1))
    return compact(graph.model(*ends, [helper.make_opsetid("", opset)]))


def _onnx_odds(graph: StreamGraph, tensor: str, network: Network) -> str:
    """Add the layers of a network; returns the tensor of its log-odds [1, 1, 1]."""
    for layer in _layers(network):
        parameters = (layer.weight[:, :, 0].transpose(0, 2, 1), layer.bias)
        tensor = graph.add("Conv", tensor, *(graph.constant(values.astype(np.float32)) for values in parameters))
        tensor = graph.add("Relu", tensor) if layer.relu else tensor
    return tensor


def differences(
    heads: JudgeHeads, word: int, shift: float, path: Path, embeddings: npt.NDArray[np.float32]
) -> dict[str, float]:
    """Return the largest difference of a word's scores from torch's in each runtime of a file, by runtime.

    `embeddings` [steps, 96] follow each other. ArtifactError for a file that takes other embeddings than the heads.
    """
    with torch.inference_mode():
        expected = torch.sigmoid(heads(torch.from_numpy(embeddings)[None])[0, :, word] - shift).numpy()
    if len(embeddings) - steps_taken(path) + 1 != len(expected):
        raise ArtifactError(f"{path} takes {steps_taken(path)} embeddings, other than the judge; build both again")
    return {
        runtime: float(np.abs(score_windows(runtime, path, embeddings) - expected).max())
        for runtime in RUNTIMES[path.suffix]
    }
