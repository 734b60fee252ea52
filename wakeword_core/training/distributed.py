"""Data-parallel training: processes that compute parts of each batch and move the same weights by the same gradients.

All of them draw all that is random about a whole batch, each computes its rows of it, and gradients, which are sums
over rows, are added up; so the result does not depend on how many there are, but for rounding and dropout, which each
draws for itself. A process finds its place among the others in the environment, as torchrun tells it.

DistributedDataParallel is not used: it wraps one forward call, while a step here calls several methods of a backbone,
and it averages what is to be added up. The gradients of these small models fit one message.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from wakeword_core.cores import available_cores
from wakeword_core.errors import ConfigError

_RANK, _LOCAL_RANK, _WORLD_SIZE, _LOCAL_WORLD_SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
"""Environment variables by which torchrun tells a process its place."""
_STORE = "WAKEWORD_STORE"
"""Names the file by which processes of this machine find each other, in place of the TCP port that torchrun opens."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training, and which of them this one is. Each method is called by all of them alike."""

    index: int = 0
    count: int = 1
    here: int = 1  # how many of them run on this machine

    @property
    def cores(self) -> int:
        """Cores of this machine for each of those that run on it; 0: all."""
        return max(1, available_cores() // self.here) if self.here > 1 else 0

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, writes files and tells how far it is."""
        return self.index == 0

    def add_up(self, tensors: list[Tensor]) -> None:
        """Replace each of some float tensors on one device by its sum over the processes, in one message."""
        if self.count == 1:
            return
        whole = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(whole)
        parts = whole.split([tensor.numel() for tensor in tensors])
        sums = [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
        torch._foreach_copy_(tensors, sums)

    def any(self, here: bool) -> bool:
        """Tell whether it is so in any of them."""
        if self.count == 1:
            return here
        flag = torch.tensor(here, dtype=torch.uint8)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """Return the numbers that the first process gives, as many as each of the others gives."""
        if self.count == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        distributed.broadcast(numbers, 0)
        return numbers.tolist()

    def wait(self) -> None:
        """Wait until all of them are here."""
        if self.count > 1:
            self.any(False)

    def check_alike(self, what: str, number: int) -> None:
        """Raise ConfigError when they do not all give the same 63-bit number for `what`."""
        if self.count == 1:
            return
        ends = torch.tensor([number, -number])
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        if int(ends[0]) != -int(ends[1]):
            raise ConfigError(f"the processes of the training differ in {what}; give them all the same, and one folder")


ALONE = Ranks()


class MemoryFullError(ConfigError):
    """The memory of one of several processes does not hold its rows; it may hold `rows` of them."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)  # what pickle makes it from again in another process
        self.rows = rows

    def __str__(self) -> str:
        return f"the memory of a GPU is exhausted; set training.sampling.micro_batch={self.rows}"


def take_place(index: int, count: int, store: Path) -> None:
    """Make this process one of `count` of this machine, which find each other by the file `store`.

    They talk over the loopback interface alone, so nobody on another machine can connect to them.
    """
    place = {_RANK: index, _LOCAL_RANK: index, _WORLD_SIZE: count, _LOCAL_WORLD_SIZE: count, _STORE: store}
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    place |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    os.environ |= {name: str(value) for name, value in place.items()}


def is_one_of_several() -> bool:
    """Tell whether this process was started as one of several."""
    return _RANK in os.environ and int(os.environ.get(_WORLD_SIZE, "1")) > 1


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the other processes, if there are any, for a training on `device`; each gets a GPU of its own machine.

    They talk by NCCL where each has a GPU to itself, otherwise by Gloo.
    """
    if not is_one_of_several():
        yield ALONE
        return
    here = int(os.environ[_LOCAL_WORLD_SIZE])
    own = device == "cuda" and here <= torch.cuda.device_count()
    if device == "cuda":
        torch.cuda.set_device(int(os.environ[_LOCAL_RANK]) % torch.cuda.device_count())
    index, count = int(os.environ[_RANK]), int(os.environ[_WORLD_SIZE])
    store = None
    if _STORE in os.environ:
        store = distributed.FileStore(os.environ[_STORE], count)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if own else "gloo"
    distributed.init_process_group(backend, store=store, rank=index, world_size=count)
    try:
        yield Ranks(index, count, here)
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
        """Make it in the place of `norm`, whose parameters and buffers it takes over."""
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [batch, channels, ...] of this process; the shape stays."""
        if not self.training:
            return super().forward(x)
        others = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        kind, x = x.dtype, x.float()
        here = x.new_tensor([x.numel() / x.shape[1]])
        sums: Tensor = all_reduce(torch.cat([x.sum(others), here]))  # whose gradients are added up alike
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance: Tensor = all_reduce(centred.square().sum(others)) / count
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(kind)
