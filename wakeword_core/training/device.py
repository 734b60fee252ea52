"""Where training runs."""

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
