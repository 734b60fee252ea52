"""The front end as nodes of a graph: samples in, features out, the Fourier transform as products of matrices.

For the few frames of a chunk that is the fastest exact way onnxruntime has: its own STFT takes three times as long,
a convolution twice. The matrices are made by nodes that depend on nothing but constants, which a runtime computes once
when it loads the model: stored whole they would be half a megabyte.
"""

import numpy as np

from wakeword_core.config import FrontendConfig
from wakeword_core.export.stream_graph import StreamGraph
from wakeword_core.features.mel import DECIBELS, analysis_window, cepstral_basis, mel_filterbank
from wakeword_core.runtime.streaming_model import NEXT, TAIL


def tail_samples(frontend: FrontendConfig) -> int:
    """Samples of a frame that were heard before its last hop."""
    return max(frontend.n_fft - frontend.hop_length, 0)


def add_front_end(graph: StreamGraph, audio: str, frontend: FrontendConfig, sample_rate: int) -> str:
    """Audio [n * hop_length] in [-1, 1] -> features [n, bands]; frame i ends where hop i does.

    Decibels are not clamped, as by `NumpyFrontend`.
    """
    window = analysis_window(frontend)
    filters = mel_filterbank(frontend, sample_rate)
    heard, bins = np.flatnonzero(window), np.flatnonzero(filters.any(axis=0))
    first, last = int(heard[0]), int(heard[-1]) + 1
    frames = _frames(graph, audio, frontend, first, last)
    spectrum = _spectrum(graph, frames, window[first:last], bins, frontend.n_fft)
    squares = graph.add("Mul", spectrum, spectrum)
    return _compressed(graph, squares, _filters(graph, filters[:, bins]), frontend)


def _spectrum(graph: StreamGraph, frames: str, window: np.ndarray, bins: np.ndarray, n_fft: int) -> str:
    """Cosines, then sines, of the bins: [n, 2 * bins]. Phases are those about the middle of the window.

    A Hann window is symmetric, and so are cosines; sines are the opposite of that. So what lies as far before the
    middle as behind it is added (subtracted) first, which leaves half of the products.
    """
    half = -(-len(window) // 2)
    before = graph.sliced(frames, (half - 1,), (None,), axes=(1,), step=-1)
    behind = graph.sliced(frames, (len(window) - half,), (None,), axes=(1,))
    # where there is no sample in the middle, distances are in halves of one; the one there is counts twice
    even = 1 - len(window) % 2
    distances, period = (1 + even) * np.arange(half, dtype=np.int64)[:, None] + even, (1 + even) * n_fft
    weights = graph.constant(window[len(window) - half :, None] * np.where(distances == 0, 0.5, 1.0).astype(np.float32))
    products = graph.add("Mul", graph.constant(distances), graph.constant(bins.astype(np.int64)))
    steps = graph.add("Mod", products, graph.integers(period))
    angles = 2.0 * np.pi / period * np.arange(period)
    parts = []
    for combine, wave in (("Add", np.cos), ("Sub", np.sin)):
        waves = graph.add("Gather", graph.constant(wave(angles).astype(np.float32)), steps)
        parts.append(graph.add("MatMul", graph.add(combine, behind, before), graph.add("Mul", waves, weights)))
    return graph.add("Concat", *parts, axis=1)


def _filters(graph: StreamGraph, filters: np.ndarray) -> str:
    """Mel filters, for the cosines and again for the sines: [2 * bins, n_mels]."""
    places = np.argwhere(filters.T > 0.0)
    empty = graph.add("ConstantOfShape", graph.integers(*filters.T.shape))
    weights = graph.constant(filters.T[filters.T > 0.0])
    once = graph.add("ScatterND", empty, graph.constant(places.astype(np.int64)), weights)
    return graph.add("Concat", once, once, axis=0)


def _frames(graph: StreamGraph, audio: str, frontend: FrontendConfig, first: int, last: int) -> str:
    """Samples `first` to `last` of each frame: [n, last - first], put together from rows of one hop."""
    hop, tail = frontend.hop_length, tail_samples(frontend)
    rows = -(-frontend.n_fft // hop)
    lacking = (rows - 1) * hop - tail
    pieces = [audio] + ([graph.constant(np.zeros(lacking, np.float32))] if lacking else [])
    if tail:
        pieces.insert(0, graph.state(TAIL, (tail,)))
    whole = graph.add("Concat", *pieces, axis=0)
    if tail:
        graph.sliced(whole, (-tail - lacking,), (-lacking or None,), to=NEXT + TAIL)
    table = graph.add("Reshape", whole, graph.integers(-1, hop))
    parts = []
    for row in range(rows):
        start, end = max(first - row * hop, 0), min(last - row * hop, hop)
        if start < end:
            parts.append(graph.sliced(table, (row, start), (row - rows + 1 or None, end), axes=(0, 1)))
    return graph.add("Concat", *parts, axis=1)


def _compressed(graph: StreamGraph, squares: str, filters: str, frontend: FrontendConfig) -> str:
    """Features [n, bands] of squares [n, 2 * bins]."""
    floor = graph.constant(np.asarray(frontend.log_floor, np.float32))
    if frontend.kind == "mel_db":
        logs = graph.add("Log", graph.add("Max", graph.add("Gemm", squares, filters), floor))
        return graph.add("Mul", logs, graph.constant(np.asarray(DECIBELS, np.float32)))
    logs = graph.add("Log", graph.add("Gemm", squares, filters, floor))
    return graph.add("MatMul", logs, graph.constant(cepstral_basis(frontend))) if frontend.kind == "mfcc" else logs
