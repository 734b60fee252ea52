"""Where training runs: on which device, with which memory, compiled or not."""

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Literal

from wakeword_core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3)
_LARGEST_BLOCK = 32 << 20
"""The highest M_MMAP_THRESHOLD that glibc takes: larger tensors get pages of their own as ever."""
_USUAL_TRIM = 2 * _LARGEST_BLOCK  # what glibc itself comes to when blocks of that size are freed
_NEVER = 2**31 - 1


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """Choose `cpu` or `cuda`; ConfigError when CUDA is asked for by name and there is none."""
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("compute.device is cuda, but no CUDA device is available; use auto or cpu")
    return "cpu"


def cuda_devices(device: str) -> list[int]:
    """List the GPU that a training on `device` uses, if it uses one."""
    import torch

    return [torch.cuda.current_device()] if device == "cuda" else []


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep the memory that this process frees; afterwards it goes back to the system. It works with glibc only.

    A step of training frees and allocates the same tensors of some megabytes each time, and that the system maps fresh
    pages costs more than most work on them: on two cores, in a virtual machine, keeping them made 8 % more steps.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt") or not library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK):
        log.debug("the C library has no mallopt: freed memory is not kept")
        yield
        return
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM)
        library.malloc_trim(0)


@contextmanager
def cuda_arithmetic(tf32: Literal["torch", "on", "off"], benchmark: bool) -> Iterator[None]:
    """Round float32 products on CUDA, and choose cuDNN's algorithms, as settings say; afterwards as before."""
    from torch.backends import cuda, cudnn

    before = cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    if tf32 != "torch":
        cuda.matmul.allow_tf32 = cudnn.allow_tf32 = tf32 == "on"
    cudnn.benchmark = benchmark
    try:
        yield
    finally:
        cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def compile_backbone(
    backbone: "nn.Module",
    wanted: Literal["auto", "on", "off"],
    device: str,
    processes: int,
    mode: Literal["default", "reduce-overhead", "max-autotune"] = "default",
) -> None:
    """Compile what training calls of a backbone, in place, where it is wanted; its state dict stays the same.

    `auto` compiles on CUDA, and not in one of several processes, whose batch norms break a network into pieces.
    Without a working compiler nothing is compiled, with a warning.
    """
    pays = device == "cuda" and processes == 1
    if wanted == "off" or (wanted == "auto" and not pays) or not _compiler_works(device):
        return
    import torch

    called = "dense" if hasattr(backbone, "dense") else "forward"
    setattr(backbone, called, torch.compile(getattr(backbone, called), mode=mode))


@cache
def _compiler_works(device: str) -> bool:
    """Whether something small can be compiled; a missing compiler shows only when a network is first called."""
    import torch

    try:
        torch.compile(_something)(torch.ones(2, device=device))
    except Exception as error:  # of many kinds, by what is missing
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("torch.compile does not work here (%s); training goes on without", reason)
        return False
    return True


def _something(x: "Tensor") -> "Tensor":
    return x.sin() + 1
