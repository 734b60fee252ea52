"""Google's speech embedding (Lin et al. 2020, Apache-2.0) in torch: 96 numbers every 80 ms, each of the last 0.8 s.

It was trained to tell words in a great deal of speech, and is used as it is. The package pyopen-wakeword carries it as
two TensorFlow Lite files, whose weights are read here; nothing in them is run.
"""

import functools
import math
from collections.abc import Iterator
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config.judge import JUDGE_RATE
from wakeword_core.errors import ArtifactError, MissingDependencyError
from wakeword_core.export.openwakeword import NUMBERS
from wakeword_core.files import digest, hash_file
from wakeword_core.python import install_command

HOP = 160
"""Samples between frames of the embedding's own front end."""
FRAMES, STEP_FRAMES = 76, 8
"""Frames that an embedding sees, and from one to the next."""
STEP_SAMPLES = STEP_FRAMES * HOP
STEPS_HEARD = -(-FRAMES // STEP_FRAMES)
"""Steps whose sound an embedding rests on: that of its frames, and of those that came with the first of them."""
_N_FFT = 512
INT16 = 32_768.0
"""Full scale of the samples that it was trained on."""
_PACKAGE = "pyopen_wakeword"
_FILES = {
    "melspectrogram.tflite": "96fa0adccb6e8cf95cb14465409a1a2898ee4a96a85bb9ed3c7eb0e68bf163e8",
    "embedding_model.tflite": "c0aea21eb84a4ce90a08c870da41b7a7173b45269e6a3207c71d67c40f3a59d8",
}
_MEL, _NETWORK = _FILES
_TYPES = {0: np.float32, 1: np.float16, 2: np.int32}
_QUIETEST = -1e9


def window_samples(steps: int) -> int:
    """Count the samples that give exactly so many embeddings, each as in the middle of longer sound."""
    return ((STEPS_HEARD + steps - 1) * STEP_FRAMES - 1) * HOP + _N_FFT


class SpeechEmbedding(nn.Module):
    """The frozen embedding: [batch, samples] in [-1, 1] at 16 kHz -> [batch, steps, 96].

    The last step ends with the samples; what at their beginning fills no step is not used.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, mel: Path, network: Path) -> None:
        super().__init__()
        operators = list(_operators(mel))
        _, cosines = (values[1].reshape(-1, _N_FFT) for name, _, values in operators if name == "CONV_2D")
        self.register_buffer("window", _tensor(cosines[0]))
        self.register_buffer("bands", _tensor(_constant(operators, "BATCH_MATMUL")))
        self.floor, self.range = float(_constant(operators, "MAXIMUM")), float(_constant(operators, "SUB"))
        # decibels out of natural logarithms, a factor at a time
        self.decibels = math.prod(
            float(values[1]) for name, _, values in operators if name == "MUL" and values[1] is not None
        )
        self.layers = nn.Sequential(*(layer for operator in _operators(network) for layer in _layers(*operator)))
        self.requires_grad_(False)

    def forward(self, audio: Tensor, unseen: int = 0) -> Tensor:
        """Embed clips; each one's embeddings depend on that clip alone, and end with its last frames but `unseen`."""
        whole = audio[:, (audio.shape[1] - _N_FFT) % HOP :]
        frames = (whole * INT16).unfold(1, _N_FFT, HOP)
        power = torch.view_as_real(torch.fft.rfft(frames * self.window)).square().sum(-1) @ self.bands
        decibels = power.clamp_min(self.floor).log() * self.decibels
        # a frame is no quieter than so far below the loudest of those that came with it, eight at a time
        given = decibels.shape[1]
        earlier = (0, 0, -given % STEP_FRAMES, 0)
        blocks = functional.pad(decibels, earlier, value=_QUIETEST).unflatten(1, (-1, STEP_FRAMES))
        least = blocks.amax((2, 3), keepdim=True) - self.range
        mels = torch.maximum(blocks, least).flatten(1, 2) / 10 + 2
        end, seen = mels.shape[1] - unseen, given - unseen - (given - unseen - FRAMES) % STEP_FRAMES
        mels = mels[:, end - seen : end]
        embeddings: Tensor = self.layers(mels[:, None].contiguous(memory_format=torch.channels_last))
        return embeddings[:, :, :, 0].transpose(1, 2)


class SpeechEmbeddingEncoder:
    """The embedding as an encoder of a judge."""

    name, licence = "speech_embedding", "Apache-2.0"
    sample_rate, step_samples = JUDGE_RATE, STEP_SAMPLES
    whole_windows = False
    content = digest(_FILES)

    def __init__(self, steps_seen: int) -> None:
        """Make it for a head that sees so many steps."""
        self.network = speech_embedding()
        self.numbers, self.window_samples = NUMBERS, window_samples(steps_seen)

    def steps_of(self, samples: int) -> int:
        """Count the embeddings of so many samples, of which there are enough for one."""
        return ((samples - _N_FFT) // HOP + 1 - FRAMES) // STEP_FRAMES + 1

    @torch.inference_mode()
    def encode(self, sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed clips; each one's embeddings depend on that clip alone."""
        embeddings: npt.NDArray[np.float32] = self.network(torch.from_numpy(sound)).numpy()
        return embeddings


@functools.cache
def speech_embedding() -> SpeechEmbedding:
    """Return the embedding of the installed package; MissingDependencyError without it, ArtifactError for another."""
    if find_spec(_PACKAGE) is None or find_spec("ai_edge_litert") is None:
        raise MissingDependencyError(
            f"a judge or a model for openWakeWord needs Google's speech embedding: {install_command('judge')}"
        )
    folder = Path(str(resources.files(_PACKAGE) / "models"))
    for name, sha256 in _FILES.items():
        if not (folder / name).is_file() or hash_file(folder / name) != sha256:
            raise ArtifactError(f"{folder / name} is not the embedding that is known here; {install_command('judge')}")
    return SpeechEmbedding(folder / _MEL, folder / _NETWORK).eval()


def _operators(path: Path) -> Iterator[tuple[str, Any, list[Any]]]:
    """Yield the name, the options and the constant inputs (None for others) of each operator of a file."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    graph = model.subgraphs[0]

    def constant(index: int) -> npt.NDArray[Any] | None:
        tensor = graph.tensors[index]
        data = None if index < 0 else model.buffers[tensor.buffer].data
        return None if data is None else np.frombuffer(bytes(data), _TYPES[tensor.type]).reshape(tensor.shape)

    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        yield name, operator.builtinOptions, [constant(index) for index in operator.inputs]


def _layers(name: str, options: Any, values: list[Any]) -> Iterator[nn.Module]:
    """Yield the layer that an operator of the network is; bands are padded in the convolutions themselves."""
    if name == "CONV_2D":
        outputs, *kernel, inputs = values[1].shape
        layer = nn.Conv2d(inputs, outputs, tuple(kernel), padding=(0, kernel[1] // 2))
        layer.weight.data = _tensor(values[1]).permute(0, 3, 1, 2).contiguous()
        layer.bias = nn.Parameter(_tensor(values[2]))
        yield layer
    elif name == "LEAKY_RELU":
        yield nn.LeakyReLU(float(options.alpha))
    elif name == "MAXIMUM":
        yield AtLeast(float(values[1]))
    elif name == "MAX_POOL_2D":
        yield nn.MaxPool2d((options.filterHeight, options.filterWidth))


class AtLeast(nn.Module):
    """Values that are no less than a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, values: Tensor) -> Tensor:
        """Raise what is below the bound to it."""
        return values.clamp_min(self.bound)


def _constant(operators: list[tuple[str, Any, list[Any]]], name: str) -> npt.NDArray[Any]:
    """The constant of the first operator of a name that has one."""
    return next(value for found, _, values in operators if found == name for value in values if value is not None)


def _tensor(values: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.copy())
