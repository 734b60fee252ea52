"""Blocks that several 2-D networks are made of."""

from torch import nn


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """A square convolution, batch norm and `activation`; padded so that ceil(size / stride) of each axis is left."""
    padding = kernel // 2
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([] if activation is None else [activation()]))


def separable_convolution(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """A convolution of each channel by itself and one across channels, each with batch norm and ReLU.

    As in MobileNet (Howard et al. 2017): about `kernel` squared times fewer products than one convolution.
    """
    return nn.Sequential(
        *convolution(inputs, inputs, kernel, stride=stride, groups=inputs), *convolution(inputs, outputs, 1)
    )


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after `size` values so that ceil(size / stride) steps of `kernel` cover them, the rest behind.

    TensorFlow's SAME, which several papers have; even kernels need it.
    """
    lacking = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return lacking // 2, lacking - lacking // 2
