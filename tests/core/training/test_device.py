"""Choice of device and threads."""

import pytest
import torch

from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError
from wakeword_core.training.device import choose_device


@pytest.mark.parametrize("available", [True, False])
def test_device(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if available else "cpu")
    if available:
        assert choose_device("cuda") == "cuda"
    else:
        with pytest.raises(ConfigError, match="no CUDA device"):
            choose_device("cuda")


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), torch_threads(0):
        assert torch.get_num_threads() >= 1
        raise KeyError
    assert torch.get_num_threads() == before
