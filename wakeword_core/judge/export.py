"""The judge as one ONNX file: sound in, scores out, with the frozen embedding inside; or its heads alone.

Each layer computes its new steps alone, from what it keeps of those before: a look costs the sound since the last one.
Heads on an encoder that takes whole windows are one plain graph from its steps to scores.
"""

from collections.abc import Iterator
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wakeword_core.errors import WakewordError
from wakeword_core.export.onnx_graph import compact, set_card, write_model
from wakeword_core.export.stream_graph import StreamGraph, add_power
from wakeword_core.judge.embedding import (
    HOP,
    INT16,
    STEP_FRAMES,
    STEPS_HEARD,
    AtLeast,
    SpeechEmbedding,
    window_samples,
)
from wakeword_core.judge.head import STEPS_SEEN, JudgeHead, JudgeHeads
from wakeword_core.runtime.encoders import Encoder
from wakeword_core.runtime.exported import JUDGE_FILE, SCORES
from wakeword_core.runtime.judge_file import NUMBERS, Judge, WindowJudge, log_odds
from wakeword_core.runtime.streaming import AUDIO

HOPS_HEARD = STEPS_HEARD + STEPS_SEEN - 1
"""Steps whose sound a decision rests on."""
WINDOW_SAMPLES = window_samples(STEPS_SEEN)
_TIME = 2
"""Axis of the steps in tensors between layers: [1, channels, steps, bands]."""
_PARITY_WINDOWS = 16
_ROUNDED = 8.0
"""Log-odds beyond which a score of float32 is 0 or 1 but for rounding."""
_LEVELS = (1e-3, 1e-2, 1e-1)
"""Standard deviations of the noise that is compared, full scale being 1."""


def export_judge(
    embedding: SpeechEmbedding, heads: JudgeHeads, card: dict[str, Any], opset: int, tolerance: float, out: Path
) -> dict[str, Any]:
    """Write `out/judge.onnx` with its card, and return figures; the same judge gives the same bytes.

    WakewordError when its log-odds differ from torch's, as a share of the largest, by more than `tolerance`.
    """
    graph = StreamGraph()
    _add_scores(graph, _add_network(graph, _add_mels(graph, embedding), embedding, heads), len(card["labels"]) - 1)
    sets = [helper.make_opsetid("", opset)]
    model = compact(graph.model((AUDIO, ("samples",)), (SCORES, ("looks", len(card["labels"]))), sets))
    states = {name: {"shape": shape, "start": [0.0], "type": "float32"} for name, (shape, _) in graph.states.items()}
    set_card(model, {**card, "streaming": {"native": True, "states": states}})
    path = out / JUDGE_FILE
    size = write_model(model, path)
    windows = _noise(WINDOW_SAMPLES)
    with torch.inference_mode():
        expected = heads(embedding(torch.from_numpy(windows)))[:, -1].numpy()
    difference = _require_alike(Judge(path).score_sound(windows), expected, path, tolerance)
    parameters = sum(one.numel() for module in (embedding, heads) for one in module.parameters())
    return {"bytes": size, "parameters": parameters, "parity": difference}


def export_heads(
    encoder: Encoder, heads: JudgeHeads, card: dict[str, Any], opset: int, tolerance: float, out: Path
) -> dict[str, Any]:
    """Write `out/judge.onnx` for an encoder of whole windows, which lies in `out` already; otherwise `export_judge`."""
    graph = StreamGraph()
    steps = graph.add("Unsqueeze", graph.add("Transpose", NUMBERS, perm=[0, 2, 1]), graph.integers(3))
    said = _mean_of(graph, [_add_whole_head(graph, steps, head) for head in heads.heads])
    words = len(card["labels"]) - 1
    _add_scores(graph, graph.add("Transpose", said, perm=[2, 1, 0, 3]), words)
    ends = (NUMBERS, ("looks", STEPS_SEEN, encoder.numbers)), (SCORES, ("looks", len(card["labels"])))
    model = compact(graph.model(*ends, [helper.make_opsetid("", opset)]))
    set_card(model, card)
    path = out / JUDGE_FILE
    size = write_model(model, path)
    judge, windows = WindowJudge(path), _noise(encoder.window_samples)
    with torch.inference_mode():
        expected = heads(torch.from_numpy(encoder.encode(windows)[:, -STEPS_SEEN:]))[:, -1].numpy()
    difference = _require_alike(judge.score_sound(windows), expected, path, tolerance)
    return {"bytes": size, "parameters": sum(one.numel() for one in heads.parameters()), "parity": difference}


def _add_whole_head(graph: StreamGraph, steps: str, head: JudgeHead) -> str:
    """Add a head to windows of steps [looks, numbers, steps, 1]: its log-odds are [looks, words, 1, 1]."""
    tensor = _standardised(graph, steps, head)
    for layer in _fused(head.layers):
        if isinstance(layer, nn.Conv1d):
            assert layer.bias is not None
            weight, bias = (_constant(graph, values) for values in (layer.weight[..., None], layer.bias))
            tensor = graph.add("Conv", tensor, weight, bias)
        else:
            tensor, _ = _add_layer(graph, tensor, layer, 1)
    return tensor


def _mean_of(graph: StreamGraph, said: list[str]) -> str:
    return graph.add("Mul", reduce(partial(graph.add, "Add"), said), _number(graph, 1 / len(said)))


def _standardised(graph: StreamGraph, tensor: str, head: JudgeHead) -> str:
    for operator, values in (("Sub", head.mean), ("Div", head.deviation)):
        tensor = graph.add(operator, tensor, _constant(graph, values[:, None, None]))
    return tensor


def _add_mels(graph: StreamGraph, embedding: SpeechEmbedding) -> str:
    """Add nodes from audio [n * 1280] to what the embedding's network hears of its frames: [1, 1, n * 8, bands]."""
    window, filters = embedding.window.numpy() * np.float32(INT16), embedding.bands.numpy().T
    power = graph.add("MatMul", *add_power(graph, AUDIO, HOP, window, filters))
    logs = graph.add("Log", graph.add("Max", power, _number(graph, embedding.floor)))
    decibels = graph.add("Mul", logs, _number(graph, embedding.decibels))
    size = STEP_FRAMES * len(filters)
    steps = graph.add("Reshape", decibels, graph.integers(1, -1, size))
    least = graph.add("Sub", _largest(graph, steps, size), _number(graph, embedding.range))
    tenths = graph.add("Div", graph.add("Max", steps, least), _number(graph, 10.0))
    return graph.add("Reshape", graph.add("Add", tenths, _number(graph, 2.0)), graph.integers(1, 1, -1, len(filters)))


def _add_network(graph: StreamGraph, mels: str, embedding: SpeechEmbedding, heads: JudgeHeads) -> str:
    """Add nodes from the mels of n steps to log-odds [1, words, n, 1]."""
    tensor, bands = mels, embedding.bands.shape[1]
    for layer in embedding.layers:
        tensor, bands = _add_layer(graph, tensor, layer, bands)
    return _mean_of(graph, [_add_head(graph, tensor, bands, head) for head in heads.heads])


def _add_head(graph: StreamGraph, embeddings: str, bands: int, head: JudgeHead) -> str:
    tensor = _standardised(graph, embeddings, head)
    for layer in _fused(head.layers):
        tensor, bands = _add_layer(graph, tensor, layer, bands)
    return tensor


def _fused(layers: nn.Sequential) -> Iterator[nn.Module]:
    """Yield layers as they are when nothing is trained: normalisation is in the convolution before it."""
    given = list(layers)
    for layer, after in zip(given, [*given[1:], None], strict=True):
        if isinstance(layer, nn.Conv1d) and isinstance(after, nn.BatchNorm1d):
            yield fuse_conv_bn_eval(layer, after)
        elif not isinstance(layer, nn.BatchNorm1d | nn.Dropout):
            yield layer


def _add_layer(graph: StreamGraph, tensor: str, layer: nn.Module, bands: int) -> tuple[str, int]:
    """Add a layer that maps [1, channels, steps, bands]; returns the name of what it gives, and how many bands."""
    match layer:
        case nn.Conv1d() | nn.Conv2d():
            assert layer.bias is not None
            weight = layer.weight if layer.weight.ndim == 4 else layer.weight[..., None]
            _, channels, steps, wide = weight.shape
            state = (f"layer_{len(graph.states)}", tensor, (1, channels, steps - 1, bands))
            whole = graph.remembering(*state, axis=_TIME)
            parameters = (_constant(graph, values) for values in (weight, layer.bias))
            return graph.add("Conv", whole, *parameters, pads=[0, wide // 2, 0, wide // 2]), bands
        case nn.MaxPool2d():
            assert isinstance(layer.kernel_size, tuple)
            pooled = graph.add("MaxPool", tensor, kernel_shape=layer.kernel_size, strides=layer.kernel_size)
            return pooled, bands // layer.kernel_size[1]
        case nn.LeakyReLU():
            return graph.add("LeakyRelu", tensor, alpha=layer.negative_slope), bands
        case AtLeast():
            return graph.add("Clip", tensor, _number(graph, layer.bound)), bands
        case nn.ReLU():
            return graph.add("Relu", tensor), bands
    raise TypeError(f"a judge has no such layer as {layer}")


def _add_scores(graph: StreamGraph, log_odds: str, words: int) -> None:
    """Add nodes from log-odds [1, words, n, 1] to scores [n, classes]; the first class is that nothing was said."""
    rows = graph.add("Transpose", graph.add("Squeeze", log_odds, graph.integers(3)), perm=[0, 2, 1])
    said = graph.add("Sigmoid", rows)
    unsaid = graph.add("Sub", _number(graph, 1.0), _largest(graph, said, words))
    graph.add("Squeeze", graph.add("Concat", unsaid, said, axis=2), graph.integers(0), to=SCORES)


def _largest(graph: StreamGraph, tensor: str, size: int) -> str:
    """Add the largest of each row of [1, n, size]: [1, n, 1]. `ReduceMax` differs between sets of operators."""
    return graph.add("MaxPool", tensor, kernel_shape=[size])


def _number(graph: StreamGraph, value: float) -> str:
    return graph.constant(np.asarray(value, np.float32))


def _constant(graph: StreamGraph, values: Tensor) -> str:
    return graph.constant(values.detach().numpy())


def _noise(samples: int) -> npt.NDArray[np.float32]:
    """Return windows of noise at several levels, to compare answers on: [windows, samples]."""
    generator = np.random.default_rng(0)
    levels = generator.choice(_LEVELS, (_PARITY_WINDOWS, 1))
    noise = generator.standard_normal((_PARITY_WINDOWS, samples)) * levels
    return noise.astype(np.float32)


def _require_alike(
    scores: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], path: Path, tolerance: float
) -> float:
    """Return by how much log-odds of a file's scores differ from those of torch; WakewordError where that is much."""
    found = np.clip(log_odds(scores)[:, 1:], -_ROUNDED, _ROUNDED)
    wanted = np.clip(expected.astype(np.float64), -_ROUNDED, _ROUNDED)
    difference = float(np.abs(found - wanted).max() / np.abs(wanted).max(initial=1.0))
    if not difference <= tolerance:
        raise WakewordError(
            f"log-odds of {path} differ from torch's by {difference:.2g} of the largest, more than "
            f"export.onnx.parity_tolerance ({tolerance:g}); report this with the configuration"
        )
    return difference
