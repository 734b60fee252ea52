"""Data-parallel training: processes that compute parts of each batch and move the same weights by the same gradients.

A process finds out that it is one of several by what torchrun puts into its environment. All of them draw all that is
random about a whole batch, each computes its rows of it, and gradients, which are sums over rows, are added up; so
the result does not depend on how many there are, but for rounding and dropout, which each draws for itself.

DistributedDataParallel is not used: it wraps one forward call, while a step here calls several methods of a backbone,
and it averages what is to be added up. The gradients of these small models fit one message.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from wakeword_core.cores import available_cores
from wakeword_core.errors import ConfigError

_RANK, _LOCAL_RANK, _WORLD_SIZE, _LOCAL_WORLD_SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
"""Environment variables by which torchrun tells a process its place."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, and which of them this one is. Each method is called by all of them alike."""

    index: int = 0
    count: int = 1
    cores: int = 0
    """of this machine for each of those that run on it; 0: all"""

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, writes files and tells how far it is."""
        return self.index == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each of some float tensors on one device by its sum over the processes, in one message."""
        if self.count == 1:
            return
        whole = torch.cat([one.flatten() for one in tensors])
        distributed.all_reduce(whole)
        parts = whole.split([one.numel() for one in tensors])
        torch._foreach_copy_(tensors, [part.view_as(one) for part, one in zip(parts, tensors, strict=True)])

    def any(self, here: bool) -> bool:
        """Whether it is so in any of them."""
        if self.count == 1:
            return here
        flag = torch.tensor(here, dtype=torch.uint8)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def of_first(self, values: Sequence[float]) -> list[float]:
        """The numbers that the first one gives, however many; of the others only their count matters."""
        if self.count == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64)
        distributed.broadcast(told, 0)
        return told.tolist()

    def wait(self) -> None:
        """Until all of them are here."""
        if self.count > 1:
            self.any(False)

    def check_alike(self, what: str, number: int) -> None:
        """ConfigError when they do not all give the same 63-bit number for `what`."""
        if self.count == 1:
            return
        ends = torch.tensor([number, -number])
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        if int(ends[0]) != -int(ends[1]):
            raise ConfigError(f"the processes of the training differ in {what}; give them all the same, and one folder")


ALONE = Ranks()


def under_torchrun() -> bool:
    """Whether this process was started as one of several."""
    return _RANK in os.environ and int(os.environ.get(_WORLD_SIZE, "1")) > 1


@contextmanager
def ranks_here(device: str) -> Iterator[Ranks]:
    """Join the other processes, if there are any, for a training on `device`; each gets a GPU of its own machine.

    They talk by NCCL where each has a GPU to itself, otherwise by Gloo.
    """
    if not under_torchrun():
        yield ALONE
        return
    here = int(os.environ[_LOCAL_WORLD_SIZE])
    own = device == "cuda" and here <= torch.cuda.device_count()
    if device == "cuda":
        torch.cuda.set_device(int(os.environ[_LOCAL_RANK]) % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if own else "gloo")
    try:
        cores = max(1, available_cores() // here)
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), cores)
    finally:
        distributed.destroy_process_group()


def share_norms(model: nn.Module, ranks: Ranks) -> None:
    """Let the model's batch norms go by the rows of all processes; parameters and buffers stay the same tensors."""
    if ranks.count == 1:
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(module, name, SharedNorm(child))


class SharedNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm of the rows of all processes, on any device; torch's SyncBatchNorm works on GPUs only."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        """In the place of `norm`, whose parameters and buffers it takes over."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, ...] of this process -> the same shape."""
        if not self.training:
            return super().forward(x)
        others = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        kind, x = x.dtype, x.float()
        here = x.new_tensor([x.numel() / x.shape[1]])
        sums = _summed(torch.cat([x.sum(others), here]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _summed(centred.square().sum(others)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(kind)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


def _summed(x: Tensor) -> Tensor:
    """The sum over the processes, whose gradient is the sum of theirs."""
    summed: Tensor = all_reduce(x)
    return summed
