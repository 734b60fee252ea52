"""A judge for a small model, to which loudness is the wake word."""

import json

import numpy as np
import onnx
from onnx import helper

from wakeword_core.export.stream_graph import StreamGraph

HOP, HOPS, TAIL = 1_280, 6, 240
WINDOW = TAIL + HOPS * HOP
JUDGE = {"hop_samples": HOP, "hops": HOPS, "gate": 0.3, "hangover_seconds": 0.2}
POINTS = {"balanced": {"threshold": 0.7, "target_fah": 0.5}}
STATES = {
    name: {"shape": shape, "start": [0.0], "type": "float32"}
    for name, shape in {"audio_tail": (TAIL,), "earlier": (1, 1, HOPS - 1)}.items()
}
BIAS = -3.0
_WITHIN = np.r_[np.ones(TAIL), np.zeros(HOP - 1_000), np.ones(1_000)].astype(np.float32)
"""What counts of the samples of a hop and of those right before it."""
_OF_HOPS = np.array([0.001, -0.002, 0.003, -0.002, 0.001, 0.05], np.float32)
"""What the loudness of each hop of a window counts: above all that of the last one."""


def log_odds_of(window):
    """What the judge says of a window of float [WINDOW] in [-1, 1], without ONNX."""
    loud = [np.abs(window[at : at + TAIL + HOP]) @ _WITHIN for at in range(0, HOPS * HOP, HOP)]
    return float(np.asarray(loud) @ _OF_HOPS + BIAS)


def save_judge(path, model, *, bias=BIAS, states=STATES, judge=None, **changes):
    """A judge that is the surer the louder the end of its window is."""
    card = {**model.card, "threshold": 0.7, "operating_points": POINTS}
    card["streaming"] = {"native": True, "states": states}
    card["judge"] = {**JUDGE, "made_for": model.graph_digest, **(judge or {})}
    file = _graph(bias)
    entry = file.metadata_props.add()
    entry.key, entry.value = "wakeword", json.dumps(card | changes)
    onnx.save(file, path)
    return path


def _graph(bias):
    graph = StreamGraph()
    row = graph.integers(1, 1, -1)
    sound = graph.add("Reshape", graph.remembering("audio_tail", "audio", STATES["audio_tail"]["shape"]), row)
    loud = graph.add("Conv", graph.add("Abs", sound), graph.constant(_WITHIN[None, None]), strides=[HOP])
    hops = graph.remembering("earlier", loud, STATES["earlier"]["shape"])
    constants = (graph.constant(values) for values in (_OF_HOPS[None, None], np.array([bias], np.float32)))
    word = graph.add("Sigmoid", graph.add("Reshape", graph.add("Conv", hops, *constants), graph.integers(-1, 1)))
    other = graph.add("Sub", graph.constant(np.ones(1, np.float32)), word)
    graph.add("Concat", other, word, axis=1, to="scores")
    return graph.model(("audio", ("samples",)), ("scores", ("looks", 2)), [helper.make_opsetid("", 18)])
