"""How the tensors between the layers of a network are rounded that was trained for 8-bit integers."""

import torch
from torch import Tensor, nn


class TrainedRounding(nn.Module):
    """The rounding that a network was trained with: buffers, so that it is wherever the weights are.

    The float network does not use it. Training and export do, which say what its numbers are of.
    """

    steps: Tensor
    """of each tensor, [tensors] float32; zeros until the rounding is known"""
    zero_points: Tensor
    """[tensors] int32"""
    shares: Tensor
    """what channels are divided by before they are rounded, of each depthwise layer in turn, [channels] float64"""

    def __init__(self, tensors: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(tensors))
        self.register_buffer("zero_points", torch.zeros(tensors, dtype=torch.int32))
        self.register_buffer("shares", torch.ones(channels, dtype=torch.float64))

    @property
    def known(self) -> bool:
        """Return whether the network was trained with it yet."""
        return bool((self.steps > 0).all())
