"""A tiny model that hears two tones as its wake words, exported as every model is, and sound with both in it."""

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.export.onnx_graph import write_model
from wakeword_core.export.streaming import export_streaming
from wakeword_core.features.mel import mel_filterbank
from wakeword_core.runtime.exported import CARD_KEY, MODEL_CARD_KEY

RATE = 16_000
LABELS = ("_negative", "low", "high")
HERTZ = {"low": 500.0, "high": 1_500.0}
FRONTEND = FrontendConfig(n_mels=16, window_frames=51)
_HEARD_FRAMES = 30
_BIAS = -5.0
_MODEL_CARD = {
    "data": {"learnt_from": {"licences": ["CC0-1.0", "CC-BY-4.0"], "commercial_use": "allowed"}},
    "metrics": {"test": {"frr": 0.03, "fah": 0.25}},
}


def tone_model(folder: Path, detector: DetectorConfig, *, native: bool = True) -> Path:
    """Write model.onnx, with a model card if it streams natively, and model.streaming.onnx into `folder`."""
    weight = np.zeros((len(LABELS), FRONTEND.n_mels, _HEARD_FRAMES), np.float32)
    filters = mel_filterbank(FRONTEND, RATE)
    for label, word in enumerate(LABELS[1:], 1):
        band = filters[:, round(HERTZ[word] * FRONTEND.n_fft / RATE)].argmax()
        weight[label] = -1.0 / (FRONTEND.n_mels * _HEARD_FRAMES)
        weight[label, band] = 1.0 / _HEARD_FRAMES
    bias = np.array([0.0, _BIAS, _BIAS], np.float32)
    steps = FRONTEND.window_frames - _HEARD_FRAMES + 1
    pooled = helper.make_node("Gather", ["steps", "last"], ["logits"], axis=2)
    if not native:  # the end of a window and a little of all of it, for which a window is needed
        pooled = helper.make_node("MatMul", ["steps", "mostly_last"], ["logits"])
    nodes = [
        helper.make_node("Conv", ["log_mel", "weight", "bias"], ["steps"], kernel_shape=[_HEARD_FRAMES]),
        pooled,
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    mostly_last = np.full(steps, 0.01, np.float32)
    mostly_last[-1] = 1 - mostly_last[:-1].sum()
    last = ("last", np.asarray(steps - 1)) if native else ("mostly_last", mostly_last)
    graph = helper.make_graph(
        nodes,
        "tones",
        [
            helper.make_tensor_value_info(
                "log_mel", TensorProto.FLOAT, ["batch", FRONTEND.n_mels, FRONTEND.window_frames]
            )
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(values, name) for name, values in (("weight", weight), ("bias", bias), last)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    card = {
        "phrase": "low",
        "labels": LABELS,
        "sample_rate": RATE,
        "frontend": FRONTEND.model_dump(mode="json"),
        "detector": detector.model_dump(mode="json"),
        "threshold": 0.6,
        "operating_point": "balanced",
        "operating_points": {"balanced": {"threshold": 0.6, "frr": 0.125, "fah": 0.5}},
        "keys": {"onnx_model": "0123456789abcdef"},
    }
    helper.set_model_props(
        model, {CARD_KEY: json.dumps(card), **({MODEL_CARD_KEY: json.dumps(_MODEL_CARD)} if native else {})}
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_model(model, folder / "model.onnx")
    assert export_streaming(folder / "model.onnx", 1e-4, folder).native == native
    return folder


def tones(seconds: float = 4.0, rate: int = RATE) -> np.ndarray:
    """Soft noise with the low tone from 0.5 s to 1.2 s and the high one from 2.0 s to 2.7 s: int16 [samples]."""
    count = round(seconds * rate)
    time = np.arange(count) / rate
    sound = np.random.default_rng(0).normal(0, 0.003, count)
    for word, start in (("low", 0.5), ("high", 2.0)):
        inside = (time >= start) & (time < start + 0.7)
        sound += 0.3 * inside * np.sin(2 * np.pi * HERTZ[word] * time)
    return np.round(sound * 32_767).astype(np.int16)
