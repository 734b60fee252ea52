"""Convolutions as matrix products equal torch's convolutions."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from wakeword_core.models.layers import toeplitz


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.integers(1, 7),
    dilation=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 6),
    length=st.integers(25, 40),
)
def test_product_equals_depthwise_convolution(kernel: int, dilation: int, stride: int, pad: int, length: int) -> None:
    generator = torch.Generator().manual_seed(kernel * 100 + length)
    taps = torch.randn(3, kernel, generator=generator)
    x = torch.randn(3, 2, length, generator=generator)
    wanted = functional.conv1d(
        x.transpose(0, 1), taps[:, None], stride=stride, padding=pad, dilation=dilation, groups=3
    ).transpose(0, 1)
    matrix = toeplitz(taps, length, wanted.shape[2], stride=stride, dilation=dilation, pad=pad)
    torch.testing.assert_close(x @ matrix, wanted, atol=1e-5, rtol=1e-5)
