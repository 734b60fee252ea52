"""Short convolutions along one axis as matrix products.

PyTorch's depthwise convolutions are many times slower on a CPU than a matrix product with as many operations. A
convolution along an axis of fixed length is a product with a banded (Toeplitz) matrix made of its taps, so the models
use that on a CPU; everything else, ONNX export included, uses the convolutions themselves.
"""

import torch
from torch import Tensor


def products_pay(x: Tensor) -> bool:
    """Whether a model should compute `x` by matrix products: on a CPU, and not while a graph is being exported."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.onnx.is_in_onnx_export()


def toeplitz(taps: Tensor, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1, pad: int = 0) -> Tensor:
    """The matrices of a depthwise convolution: taps [channels, kernel] -> [channels, inputs, outputs].

    `x [channels, n, inputs] @ toeplitz(...)` equals a convolution of the last axis with `pad` zeros on its left and as
    many on its right as `outputs` needs.
    """
    kernel = taps.shape[1]
    place = torch.arange(inputs, device=taps.device)[:, None]
    start = torch.arange(outputs, device=taps.device)[None, :] * stride - pad
    offsets = torch.arange(kernel, device=taps.device) * dilation
    basis = (place - start)[None] == offsets[:, None, None]
    return (taps @ basis.to(taps.dtype).reshape(kernel, -1)).view(-1, inputs, outputs)
