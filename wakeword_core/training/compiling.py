"""torch.compile for the network, where it is asked for or pays."""

import logging
from functools import cache

import torch
from torch import Tensor, nn

from wakeword_core.config import TrainingConfig
from wakeword_core.training.distributed import Ranks

log = logging.getLogger(__name__)


def compile_backbone(backbone: nn.Module, settings: TrainingConfig, ranks: Ranks, device: str) -> None:
    """Compile what training calls of a backbone, in place, as `settings.compile` says; its state dict stays the same.

    `auto` compiles on CUDA, and not in one of several processes, whose batch norms break a network into pieces.
    Without a working compiler nothing is compiled, with a warning.
    """
    wanted = settings.compile == "on" or (settings.compile == "auto" and device == "cuda" and ranks.count == 1)
    if not wanted or not _compiler_works(device):
        return
    called = "dense" if hasattr(backbone, "dense") else "forward"
    setattr(backbone, called, torch.compile(getattr(backbone, called)))


@cache
def _compiler_works(device: str) -> bool:
    """Whether something small can be compiled; a missing compiler shows only when a network is first called."""
    try:
        torch.compile(_something)(torch.ones(2, device=device))
    except Exception as error:  # of many kinds, by what is missing
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("torch.compile does not work here (%s); training goes on without", reason)
        return False
    return True


def _something(x: Tensor) -> Tensor:
    return torch.sin(x) + 1
