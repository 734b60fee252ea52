"""What a model costs to run: read off its graph, measured on a processor, and compared with what devices have."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from wakeword_core.config import FrontendConfig, Platform
from wakeword_core.export.onnx_graph import attributes, initializers, load_model, open_session
from wakeword_core.export.stream_network import CannotStreamError
from wakeword_core.export.streaming import streaming_network
from wakeword_core.features.mel import mel_filterbank
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.live import WindowScorer

_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
"""Operators whose result is their input in another shape, in the same memory."""
_CHUNK_SECONDS = 0.08
_LOUDNESS = 1_000.0
"""Standard deviation of the noise in int16 steps, about -30 dBFS."""
_ROUNDS = 5
_WARM_UPS, _WINDOWS = 3, 25
"""Runs of single windows that do not count, and that do."""
_KIB, _MIB = 2**10, 2**20
_FLOAT_BYTES = 4

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class GraphCost:
    """The memory and work that one run of a graph takes."""

    constant_bytes: int
    peak_bytes: int
    """Most that tensors take at once in the order of the graph; each lives from its node to its last reader."""
    macs: int
    """Multiply-adds of convolutions, products of matrices and recurrent layers."""


def graph_cost(model: ModelProto, inputs: Arrays) -> GraphCost:
    """Return the cost of a run on `inputs` of a graph without branches.

    The graph is run once with every tensor as an output, so that the sizes are those of a real run.
    """
    constants = {name: numpy_helper.to_array(tensor) for name, tensor in initializers(model).items()}
    values = {**constants, **inputs, **_computed(model, inputs)}
    return GraphCost(
        constant_bytes=sum(array.nbytes for array in constants.values()),
        peak_bytes=_peak(model, values, set(constants)),
        macs=sum(_macs(node, values) for node in model.graph.node),
    )


def _computed(model: ModelProto, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
    every = ModelProto()
    every.CopyFrom(model)
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name))
    del every.graph.output[:]
    every.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return dict(zip(names, open_session(every, optimised=False).run(names, dict(inputs)), strict=True))


def _peak(model: ModelProto, values: Arrays, constants: set[str]) -> int:
    nodes, home = list(model.graph.node), {name: name for name in values}
    for node in nodes:
        if node.op_type in _VIEWS:
            home[node.output[0]] = home[node.input[0]]
    last = {home[name]: index for index, node in enumerate(nodes) for name in node.input if name}
    last |= {home[output.name]: len(nodes) for output in model.graph.output}
    live = {value.name for value in model.graph.input}
    peak = 0
    for index, node in enumerate(nodes):
        live |= {home[name] for name in node.output if name} - constants
        peak = max(peak, sum(values[name].nbytes for name in live))
        live = {name for name in live if last.get(name, -1) > index}
    return peak


def _macs(node: NodeProto, values: Arrays) -> int:
    if node.op_type == "Conv":
        weight = values[node.input[1]]
        return int(values[node.output[0]].size * weight[0].size)
    if node.op_type in ("MatMul", "Gemm"):
        across = -2 if attributes(node).get("transA") else -1
        return int(values[node.output[0]].size * values[node.input[0]].shape[across])
    if node.op_type in ("GRU", "LSTM", "RNN"):
        steps, batch = values[node.input[0]].shape[:2]
        return int(steps * batch * sum(values[name].size for name in node.input[1:3]))
    return 0


def cpu_ms_per_second(model_path: Path, seconds: float = 4.0) -> float:
    """Measure the milliseconds of processor time (one thread) that a second of audio takes, decisions included.

    Noise of `seconds` goes through the detector in 80 ms chunks; the median of five rounds after one to warm up.
    """
    detector = Detector(WakewordModel(model_path, threads=1))
    return _ms_per_second(detector.reset, detector.process, detector.model.sample_rate, seconds)


def windows_ms_per_second(model: WakewordModel, seconds: float = 4.0) -> float:
    """Measure the same for a ring buffer of windows, also where a model that streams lies beside; without decisions."""
    scorer = WindowScorer(model)
    return _ms_per_second(scorer.reset, scorer.push, model.sample_rate, seconds)


def _ms_per_second(
    reset: Callable[[], None], hear: Callable[[npt.NDArray[np.int16]], Any], rate: int, seconds: float
) -> float:
    noise = np.random.default_rng(0).normal(0.0, _LOUDNESS, round(seconds * rate))
    pcm = np.clip(noise, -32_768, 32_767).astype(np.int16)
    size = round(_CHUNK_SECONDS * rate)
    chunks = [pcm[start : start + size] for start in range(0, len(pcm), size)]
    rounds = []
    for _ in range(1 + _ROUNDS):
        reset()
        started = time.process_time()
        for chunk in chunks:
            hear(chunk)
        rounds.append(time.process_time() - started)
    return 1_000.0 * statistics.median(rounds[1:]) / seconds


def cpu_ms_per_window(model_path: Path) -> float:
    """Measure the milliseconds of processor time (one thread) of the network for one window of noise: a median."""
    model = WakewordModel(model_path, threads=1)
    shape = (1, model.frontend.bands, model.frontend.window_frames)
    window = np.random.default_rng(0).normal(0.0, 1.0, shape).astype(np.float32)
    spent = []
    for _ in range(_WARM_UPS + _WINDOWS):
        started = time.process_time()
        model.score_windows(window)
        spent.append(time.process_time() - started)
    return 1_000.0 * statistics.median(spent[_WARM_UPS:])


@dataclass(frozen=True)
class Budget:
    """What a device has for a wake word: about half of its memory and time; the rest is the program's."""

    flash_bytes: int
    ram_bytes: int
    macs_per_second: float
    """Multiply-adds in float32 that half of one core does."""


PLATFORMS: dict[Platform, Budget] = {
    "esp32_s3": Budget(4 * _MIB, 256 * _KIB, 30e6),
    "esp32_s3_psram": Budget(8 * _MIB, 4 * _MIB, 30e6),
    "rp2040": Budget(1 * _MIB, 132 * _KIB, 0.5e6),
    "nano_33_ble": Budget(512 * _KIB, 128 * _KIB, 7e6),
    "rpi_zero_2": Budget(256 * _MIB, 128 * _MIB, 500e6),
    "rpi_4": Budget(256 * _MIB, 512 * _MIB, 2e9),
    "rpi_5": Budget(256 * _MIB, 1_024 * _MIB, 5e9),
    "phone": Budget(64 * _MIB, 128 * _MIB, 5e9),
    "server": Budget(1_024 * _MIB, 4_096 * _MIB, 20e9),
}
"""ESP32-S3: 512 KiB SRAM, 8 MiB flash, floating point at 240 MHz; with PSRAM 8 MiB of it and 16 MiB flash. RP2040:
264 KiB, 2 MiB, 133 MHz without floating point, about 130 cycles a multiply-add. Nano 33 BLE: 256 KiB, 1 MiB, 64 MHz
with it. The Raspberry Pis: Cortex-A53, A72, A76. Orders of magnitude, to tell what cannot work from what can."""


@dataclass(frozen=True)
class Needs:
    """The memory and work that a model takes of a device while it listens."""

    flash_bytes: int
    """Weights, and the tables of the front end."""
    ram_bytes: int
    """States of the stream, and the most that tensors of a run take at once."""
    macs_per_second: float

    def described(self) -> str:
        """Return the three figures in words."""
        return (
            f"{self.flash_bytes / _KIB:,.0f} KiB flash, {self.ram_bytes / _KIB:,.0f} KiB RAM, "
            f"{self.macs_per_second / 1e6:,.1f} million multiply-adds a second"
        )


def needs(clip_path: Path) -> Needs:
    """Return what listening with an exported `model.onnx` takes, with a run each stride of the detector.

    The network is counted as it is exported, in float32. The front end is counted as what every platform's signal
    library does, a real FFT of each frame, not as the matrix product that is fastest in onnxruntime.
    """
    model = WakewordModel(clip_path)
    network = load_model(clip_path)
    frontend, stride = model.frontend, model.stride_frames
    try:
        cost = _streaming_cost(streaming_network(model, network), frontend.bands, stride)
        ring = 0
    except CannotStreamError:
        window = np.zeros((1, frontend.bands, frontend.window_frames), np.float32)
        cost, ring = graph_cost(network, {network.graph.input[0].name: window}), window.nbytes
    frames_per_second = model.sample_rate / frontend.hop_length
    front = _front_end(frontend, model.sample_rate)
    return Needs(
        flash_bytes=cost.constant_bytes + front.constant_bytes,
        ram_bytes=cost.peak_bytes + ring + front.peak_bytes,
        macs_per_second=frames_per_second * (cost.macs / stride + front.macs),
    )


def problems(needed: Needs, platform: Platform) -> list[str]:
    """Return a sentence for each thing that does not fit on a platform."""
    budget = PLATFORMS[platform]
    pairs = (
        ("flash", needed.flash_bytes / _KIB, budget.flash_bytes / _KIB, "KiB"),
        ("RAM", needed.ram_bytes / _KIB, budget.ram_bytes / _KIB, "KiB"),
        ("work", needed.macs_per_second / 1e6, budget.macs_per_second / 1e6, "million multiply-adds a second"),
    )
    return [
        f"{name}: {amount:,.1f} {unit}, of which {platform} has {allowed:,.1f} for it"
        for name, amount, allowed, unit in pairs
        if amount > allowed
    ]


def _streaming_cost(network: onnx.ModelProto, bands: int, frames: int) -> GraphCost:
    features, *states = network.graph.input
    shapes = {state.name: [dim.dim_value for dim in state.type.tensor_type.shape.dim] for state in states}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return graph_cost(network, {features.name: np.zeros((frames, bands), np.float32), **zeros})


def _front_end(frontend: FrontendConfig, sample_rate: int) -> GraphCost:
    """Count one frame: window, real FFT in place (two multiply-adds a butterfly's half), power, mel filters."""
    weights = int((mel_filterbank(frontend, sample_rate) > 0).sum())
    bins = frontend.n_fft // 2 + 1
    transform = frontend.n_fft * math.ceil(math.log2(frontend.n_fft))
    cepstra = frontend.n_mels * frontend.n_mfcc if frontend.kind == "mfcc" else 0
    return GraphCost(
        constant_bytes=_FLOAT_BYTES * (frontend.win_length + frontend.n_fft + weights + cepstra),
        peak_bytes=_FLOAT_BYTES * (2 * frontend.n_fft + bins + frontend.n_mels),
        macs=frontend.win_length + transform + 2 * bins + weights + cepstra,
    )
