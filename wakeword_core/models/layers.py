"""What networks have in common: those that stream, those that see whole windows, layers, and first weights."""

from abc import ABC, abstractmethod
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST_DEVIATION = 0.1


class StreamingBackbone(nn.Module, ABC):
    """A causal network without padding; a kind of network defines `steps`, `dropout` and `classifier`.

    It gives the same scores on a window as on endless audio: no layer over time is padded, so what a step gives depends
    on the frames of its own receptive field alone, wherever the window began. One pass over a long stretch (`dense`)
    gives the scores of every window in it, which training and streaming both use. The classifier is a convolution over
    the last steps.
    """

    streams = True  # it can run step by step on endless audio
    dropout: nn.Module
    classifier: nn.Conv1d

    def __init__(self, *, stem_frames: int, stride: int, lost_steps: int) -> None:
        """Expect a first layer that sees `stem_frames` frames every `stride`; later ones lose `lost_steps` steps."""
        super().__init__()
        self.stride, self.stem_frames = stride, stem_frames
        self.receptive_field_frames = stem_frames + stride * lost_steps

    @abstractmethod
    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, channels, steps], nothing padded."""

    def output_frames(self, frames: int) -> Tensor:
        """Return the last frame of each step that `dense` gives for `frames` frames: int64 [steps]."""
        first = min(self.receptive_field_frames, frames) - 1
        return torch.arange(frames - 1, first - 1, -self.stride).flip(0)

    def aligned(self, x: Tensor) -> Tensor:
        """Return the frames of [batch, n_mels, frames] that steps see, the last of which ends at the last frame."""
        x = self._long_enough(x)
        return x[:, :, (x.shape[2] - self.stem_frames) % self.stride :]

    def dense(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes, steps], one step for each of `output_frames`."""
        logits: Tensor = self.classifier(self.dropout(self.steps(self.aligned(x))))
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels * head_steps]: the last steps, which the classifier sees."""
        return self.steps(self.aligned(self._last_window(x))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes] at the last frame."""
        return self.dense(self._last_window(x))[:, :, -1]

    def _last_window(self, x: Tensor) -> Tensor:
        return self._long_enough(x)[:, :, -self.receptive_field_frames :]

    def _long_enough(self, x: Tensor) -> Tensor:
        """Windows shorter than the receptive field begin with the mean of the training data."""
        return functional.pad(x, (max(self.receptive_field_frames - x.shape[2], 0), 0))


class WindowBackbone(nn.Module, ABC):
    """A network that makes one vector of a whole window; a kind of network defines `embed`, `dropout`, `classifier`."""

    streams = False
    dropout: nn.Module
    classifier: nn.Module

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, d]: what the classifier sees."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits


class StandardisedWindows(WindowBackbone):
    """A network that gets each window with mean 0 and deviation 1 in each band."""

    def __init__(self, network: WindowBackbone) -> None:
        super().__init__()
        self.members = nn.ModuleList([network])

    @property
    def _network(self) -> WindowBackbone:
        return cast(WindowBackbone, self.members[0])

    @property
    def dropout(self) -> nn.Module:  # type: ignore[override]
        """That of the network."""
        return self._network.dropout

    @property
    def classifier(self) -> nn.Module:  # type: ignore[override]
        """That of the network."""
        return self._network.classifier

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, d]: what the classifier sees."""
        return self._network.embed(standardised(x))


def standardised(x: Tensor) -> Tensor:
    """Bring each band of each window [batch, n_mels, frames] to mean 0 and deviation 1, but for bands that hardly move.

    A deviation counts as no less than about a tenth of the training split's: quiet would be blown up to noise.
    """
    centred = x - x.mean(dim=2, keepdim=True)
    return centred * (centred.square().mean(dim=2, keepdim=True) + _LEAST_DEVIATION**2).rsqrt()


def windows_ending(x: Tensor, ends: Tensor, frames: int) -> Tensor:
    """Cut out the `frames` frames of each row of x [batch, n_mels, any] that end with frame `ends` [batch].

    What would lie before a row is 0, which is the mean of the training data where x is normalised.
    """
    places = (ends[:, None] - torch.arange(frames - 1, -1, -1, device=x.device))[:, None]
    return x.gather(2, places.clamp_min(0).expand(-1, x.shape[1], -1)).masked_fill(places < 0, 0.0)


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    padding: tuple[int, int] | None = None,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Make a square convolution, batch norm and `activation`; unless padded otherwise, ceil(size / stride) is left."""
    pad = kernel // 2 if padding is None else padding
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


def separable_convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: tuple[int, int] | None = None
) -> nn.Sequential:
    """Make a convolution of each channel by itself and one across channels, each with batch norm and ReLU.

    As in MobileNet (Howard et al. 2017): about `kernel` squared times fewer products than one convolution.
    """
    return nn.Sequential(
        *convolution(inputs, inputs, kernel, stride=stride, groups=inputs, padding=padding),
        *convolution(inputs, outputs, 1),
    )


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many zeros before and after `size` values let ceil(size / stride) steps of `kernel` cover them.

    An odd one is behind. It is TensorFlow's SAME, which several papers have; even kernels need it.
    """
    lacking = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return lacking // 2, lacking - lacking // 2


def products_pay(x: Tensor) -> bool:
    """Tell whether matrix products should compute `x`: on a CPU, and not while a graph is being exported.

    Depthwise convolutions of torch are many times slower on a CPU than a product with as many operations.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.onnx.is_in_onnx_export()


def toeplitz(taps: Tensor, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, pad: int = 0) -> Tensor:
    """Return the banded matrices of a depthwise convolution: taps [channels, kernel] -> [channels, inputs, outputs].

    `x [channels, n, inputs] @ toeplitz(...)` equals a convolution of the last axis with `pad` zeros on its left and as
    many on its right as `outputs` needs.
    """
    kernel = taps.shape[1]
    place = torch.arange(inputs, device=taps.device)[:, None]
    start = torch.arange(outputs, device=taps.device)[None, :] * stride - pad
    offsets = torch.arange(kernel, device=taps.device) * dilation
    basis = (place - start)[None] == offsets[:, None, None]
    return (taps @ basis.to(taps.dtype).reshape(kernel, -1)).view(-1, inputs, outputs)


def he_initialise(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """Initialise every convolution and linear layer of `model` but its `classifier` as He et al. 2015 do.

    `fan_in` keeps the size of activations from layer to layer, `fan_out` that of gradients; biases begin at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module is not model.classifier:
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def recurrent_initialise(network: nn.GRU | nn.LSTM) -> None:
    """Set orthogonal weights from step to step (Saxe et al. 2014), Glorot's from the input, and biases of zero.

    The forget gate of an LSTM begins open, with a bias of one (Jozefowicz et al. 2015).
    """
    for name, parameter in network.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.split(network.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            for gate in parameter.split(network.hidden_size):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(network, nn.LSTM) and name.startswith("bias_ih"):
                # in torch's order of gates: input, forget, cell, output
                nn.init.ones_(parameter.data[network.hidden_size : 2 * network.hidden_size])
