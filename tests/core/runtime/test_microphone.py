"""The microphone without one: a stand-in for sounddevice, and what is said where something is missing."""

import builtins
import sys
import types

import numpy as np
import pytest

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.runtime import microphone as module
from wakeword_core.runtime.microphone import microphone


class Device:
    """What sounddevice gives of a stream: calls back with blocks as soon as it is entered."""

    blocks: tuple[np.ndarray, ...] = ()
    status = ""

    def __init__(self, **settings) -> None:
        self.settings = settings
        if settings["device"] == "none":
            raise PortAudioError("no such device")

    def __enter__(self):
        for block in self.blocks:
            self.settings["callback"](block[:, None], len(block), None, self.status)
        return self

    def __exit__(self, *error) -> None: ...


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "sounddevice", types.SimpleNamespace(InputStream=Device, PortAudioError=PortAudioError)
    )
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(Device, "blocks", [np.full(1_280, number, np.int16) for number in range(3)])
    monkeypatch.setattr(Device, "status", "")
    return Device


def test_blocks_come_in_order_and_silence_of_the_device_is_said(device) -> None:
    with microphone(16_000) as blocks:
        assert [next(blocks)[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="gave no sound"):
            next(blocks)


def test_a_block_is_a_copy_of_a_buffer_that_is_used_again(device, monkeypatch) -> None:
    buffer = np.ones(1_280, np.int16)
    monkeypatch.setattr(Device, "blocks", [buffer])
    with microphone(16_000) as blocks:
        buffer[:] = 7
        assert next(blocks)[0] == 1


def test_lost_sound_is_an_error(device, monkeypatch) -> None:
    monkeypatch.setattr(Device, "status", "input overflow")
    with microphone(16_000) as blocks, pytest.raises(DataError, match="input overflow"):
        next(blocks)
    monkeypatch.setattr(Device, "status", "")
    monkeypatch.setattr(Device, "blocks", [np.zeros(9, np.int16)] * (module._QUEUED_BLOCKS + 1))
    with microphone(16_000) as blocks, pytest.raises(DataError, match="too slow"):
        next(blocks)


def test_a_missing_device_is_named(device) -> None:
    with pytest.raises(DataError, match="microphone 'none' cannot be opened at 16000 Hz"), microphone(16_000, "none"):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [(ImportError("no module"), "pip install"), (OSError("no PortAudio"), "libportaudio2")],
)
def test_what_is_missing_is_one_sentence(monkeypatch, error, said) -> None:
    original = builtins.__import__

    def refuse(name, *rest):
        if name == "sounddevice":
            raise error
        return original(name, *rest)

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=said), microphone(16_000):
        pass
