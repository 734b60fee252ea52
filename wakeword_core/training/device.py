"""Where training runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from wakeword_core.errors import ConfigError


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """`cpu` or `cuda`; ConfigError when CUDA is asked for by name and there is none."""
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ConfigError("training.device is cuda, but no CUDA device is available; use auto or cpu")
    return "cpu"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run with `count` torch threads (0: one a core), and restore the number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
