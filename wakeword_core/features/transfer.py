"""Host arrays to a device, through pinned memory so that neither side waits for the other."""

from typing import Any

import numpy.typing as npt
import torch


def on_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """The array on the device: itself on a CPU, else a copy that waits for its turn in the current stream.

    The pinned memory is torch's to keep and to use again once the copy is made.
    """
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
