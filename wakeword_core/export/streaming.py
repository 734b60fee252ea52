"""Exporting the model as one self-contained file that streams: samples in, scores out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from wakeword_core.errors import WakewordError
from wakeword_core.export.onnx_graph import compact, load_model, open_session, set_card, write_model
from wakeword_core.export.stream_graph import WAIT, Shaped, StreamGraph, add_front_end, add_windows
from wakeword_core.export.stream_network import STEPS, CannotStreamError, add_network
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import SCORES, STREAMING_FILES
from wakeword_core.runtime.streaming import AUDIO, NEXT, GraphScorer, StreamingModel

_FEATURES = "features"
_PARITY_SECONDS = 3.0
_PARITY_CHUNK = 1_111
"""Samples; a multiple of neither hop nor stride."""
_LEVELS = (3.0, 300.0, 3_000.0)
"""Standard deviations, in int16 steps, of the noise that is compared."""
_LEVEL_SAMPLES = 4_000

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class StreamingSummary:
    """Figures of a streaming model."""

    native: bool
    """Whether each step of each layer is computed once; else windows of a ring buffer are scored."""
    reason: str
    """Why it is not native, or nothing."""
    bytes: int
    state_bytes: int
    parity: float
    """Largest difference of a score from the window model's on the same noise."""


def export_streaming(clip_path: Path, tolerance: float, out: Path) -> StreamingSummary:
    """Write the streaming form of an exported `model.onnx` (or INT8 model) into `out`, as `StreamingModel` reads it.

    WakewordError when its scores differ from the window model's by more than `tolerance`; CannotStreamError where the
    front end is none that a graph can hold.
    """
    clip = WakewordModel(clip_path)
    if not clip.frontend.in_onnx:
        made_by = "the device's own code" if clip.frontend.kind == "micro" else "another package"
        raise CannotStreamError(f"the front end {clip.frontend.kind} is computed by {made_by}, outside of ONNX")
    graph, reason = _stream(clip, load_model(clip_path))
    states = _after_quiet(graph, clip)
    facts = {
        "native": not reason,
        "reason": reason,
        "hop_length": clip.frontend.hop_length,
        "stride_frames": clip.stride_frames,
        "states": {name: _described(values) for name, values in states.items()},
        "made_from": clip.graph_digest,
    }
    set_card(graph, {**clip.card, "streaming": facts})
    path = out / STREAMING_FILES[clip_path.name]
    size = write_model(graph, path)
    difference = streaming_parity(clip, StreamingModel(path))
    if not difference <= tolerance:
        raise WakewordError(
            f"scores of {path} differ from those of {clip_path} by {difference:.2g}, more than "
            f"{tolerance:g}; report this with the model's configuration"
        )
    return StreamingSummary(not reason, reason, size, sum(values.nbytes for values in states.values()), difference)


def streaming_figures(clip_path: Path, tolerance: float, out: Path) -> dict[str, Any]:
    """Do what `export_streaming` does; returns its figures, or why there is no such file."""
    try:
        figures = asdict(export_streaming(clip_path, tolerance, out))
    except CannotStreamError as error:
        figures = {"reason": str(error)}
    return {f"streaming_{name}": value for name, value in figures.items()}


def streaming_parity(clip: WakewordModel, streaming: StreamingModel) -> float:
    """Return the largest absolute difference between the scores of both on noise of changing levels, in odd chunks."""
    generator = np.random.default_rng(0)
    samples = round(_PARITY_SECONDS * clip.sample_rate)
    levels = np.repeat(generator.choice(_LEVELS, samples // _LEVEL_SAMPLES + 1), _LEVEL_SAMPLES)[:samples]
    pcm = (generator.normal(0.0, 1.0, samples) * levels).astype(np.int16)
    _, expected = clip.score_audio(pcm)
    scorer = GraphScorer(streaming)
    scores = np.concatenate([scorer.push(pcm[at : at + _PARITY_CHUNK])[1] for at in range(0, samples, _PARITY_CHUNK)])
    return float(np.abs(scores - expected[: len(scores)]).max(initial=0.0))


def streaming_network(clip: WakewordModel, network: ModelProto) -> ModelProto:
    """Return the network without the front end: `features` [steps, bands] and states in. Raises CannotStreamError."""
    graph = StreamGraph()
    graph.add("Identity", _native(graph, clip, network, _FEATURES), to=SCORES)
    return compact(graph.model((_FEATURES, (STEPS, clip.frontend.bands)), _scores(clip), network.opset_import))


def _stream(clip: WakewordModel, network: ModelProto) -> tuple[ModelProto, str]:
    """Return the graph, and why it needs windows if it does."""
    reason, add = "", _native
    try:
        _native(StreamGraph(), clip, network, _FEATURES)
    except CannotStreamError as error:
        reason, add = str(error), _windowed
    graph = StreamGraph()
    features = add_front_end(graph, AUDIO, clip.frontend, clip.sample_rate)
    graph.add("Identity", add(graph, clip, network, features), to=SCORES)
    model = graph.model((AUDIO, ("samples",)), _scores(clip), network.opset_import)
    # names in a branch are those around it, which `compact` does not look into
    return (model if reason else compact(model, shapes=True)), reason


def _scores(clip: WakewordModel) -> Shaped:
    return (SCORES, ("steps", len(clip.labels)))


def _native(graph: StreamGraph, clip: WakewordModel, network: ModelProto, features: str) -> str:
    if clip.frontend.kind == "mel_db":
        raise CannotStreamError("mel_db is clamped below the loudest frame of a window")
    return add_network(graph, network, features)


def _windowed(graph: StreamGraph, clip: WakewordModel, network: ModelProto, features: str) -> str:
    return add_windows(graph, network, features, clip.frontend, clip.stride_frames, len(clip.labels))


def _after_quiet(model: ModelProto, clip: WakewordModel) -> Arrays:
    """Return the states after a window of digital silence, at the place in the grid where a stream begins."""
    session = open_session(model)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8}
    states = [value for value in session.get_inputs() if value.name != AUDIO]
    start = {state.name: np.zeros(state.shape, kinds[state.type]) for state in states}
    if WAIT in start:
        start[WAIT][:] = clip.first_end
    windows = -(-clip.frontend.window_frames // clip.stride_frames)
    silence = np.zeros(windows * clip.stride_frames * clip.frontend.hop_length, np.float32)
    settled = session.run([NEXT + name for name in start], {AUDIO: silence, **start})
    return dict(zip(start, settled, strict=True))


def _described(state: npt.NDArray[Any]) -> dict[str, Any]:
    """Describe a state that is constant over time for the card, in numbers as short as float32 allows."""
    start = state[:1] if state.ndim == 1 else state.reshape(*state.shape[:2], -1)[0, :, -1]
    numbers = [int(value) if np.issubdtype(state.dtype, np.integer) else float(str(value)) for value in start]
    return {"shape": list(state.shape), "start": numbers, "type": str(state.dtype)}
