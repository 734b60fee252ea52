"""The microphone without one: a stand-in for sounddevice, and what is said where something is missing."""

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
    rates: tuple[int, ...] = (16_000,)
    channels = 1

    def __init__(self, **settings) -> None:
        self.settings = settings
        if settings["samplerate"] not in self.rates or settings["channels"] != self.channels:
            raise PortAudioError("invalid sample rate or number of channels")

    def __enter__(self):
        for block in self.blocks:
            self.settings["callback"](block[:, None].repeat(self.channels, 1), len(block), None, self.status)
        return self

    def __exit__(self, *error) -> None:
        raise PortAudioError("the device is gone")


def query_devices(device, kind):
    if device in ("none", 7):
        raise ValueError("no such device")
    return {"default_samplerate": float(Device.rates[0]), "max_input_channels": Device.channels}


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setitem(
        sys.modules,
        "sounddevice",
        types.SimpleNamespace(InputStream=Device, PortAudioError=PortAudioError, query_devices=query_devices),
    )
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(Device, "blocks", [np.full(1_280, number, np.int16) for number in range(3)])
    monkeypatch.setattr(Device, "status", "")
    monkeypatch.setattr(Device, "rates", (16_000,))
    monkeypatch.setattr(Device, "channels", 1)
    return Device


def test_blocks_come_in_order_and_silence_of_the_device_is_said(device) -> None:
    with microphone(16_000) as blocks:
        assert [next(blocks)[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="gave no sound"):
            next(blocks)


def test_a_device_that_opens_and_does_not_start_is_closed_before_the_next_try(device, monkeypatch) -> None:
    calls: list[str] = []

    class Busy(Device):
        rates = (16_000, 48_000)

        def __enter__(self):
            calls.append("start")
            if len(calls) == 1:
                raise PortAudioError("busy")
            return self

        def __exit__(self, *error) -> None:
            calls.append("close")

    monkeypatch.setattr(sys.modules["sounddevice"], "InputStream", Busy)
    monkeypatch.setattr(Device, "rates", Busy.rates)
    with microphone(16_000):
        assert calls == ["start", "close", "start"]
    assert calls[-1] == "close"


def test_a_block_is_a_copy_of_a_buffer_that_is_used_again(device, monkeypatch) -> None:
    buffer = np.ones(1_280, np.int16)
    monkeypatch.setattr(Device, "blocks", [buffer])
    with microphone(16_000) as blocks:
        buffer[:] = 7
        assert next(blocks)[0] == 1


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 22_050])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_device_that_opens_otherwise_is_mixed_and_resampled(device, monkeypatch, rate, channels) -> None:
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    monkeypatch.setattr(Device, "rates", (rate,))
    monkeypatch.setattr(Device, "channels", channels)
    monkeypatch.setattr(Device, "blocks", np.array_split(tone, 12))
    heard = []
    with microphone(16_000) as blocks, pytest.raises(DataError, match="gave no sound"):
        for block in blocks:
            heard.append(block)
    whole = np.concatenate(heard)
    assert whole.dtype == np.int16 and whole.ndim == 1 and 0.95 * 16_000 < len(whole) <= 16_001
    loudest = np.abs(np.fft.rfft(whole)).argmax() * 16_000 / len(whole)
    assert abs(loudest - 440) < 2 and abs(np.abs(whole).max() - 8_000) < 400


def test_lost_sound_is_counted_and_the_rest_is_heard(device, monkeypatch, caplog) -> None:
    monkeypatch.setattr(Device, "status", "input overflow")
    with microphone(16_000) as blocks:
        assert [next(blocks)[0] for _ in range(3)] == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "sound from the microphone was lost once (input overflow); going on",
        "sound from the microphone was lost 3 times (input overflow); words in it were not heard",
    ]
    caplog.clear()
    monkeypatch.setattr(Device, "status", "")
    monkeypatch.setattr(Device, "blocks", [np.zeros(9, np.int16)] * (module._QUEUED_BLOCKS + 1))
    with microphone(16_000) as blocks:
        next(blocks)
    assert "too slow" in caplog.text


def test_a_missing_device_is_named(device, monkeypatch) -> None:
    with pytest.raises(DataError, match="microphone 'none' cannot be opened at 16000 Hz"), microphone(16_000, "none"):
        pass
    with pytest.raises(DataError, match="microphone 7 cannot be opened at 16000 Hz"), microphone(16_000, "7"):
        pass
    monkeypatch.setattr(Device, "rates", (12_345,))
    monkeypatch.setattr(Device, "channels", 0)
    with pytest.raises(DataError, match="the default microphone cannot be opened"), microphone(16_000):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [(ImportError("no module"), "pip install"), (OSError("no PortAudio"), "libportaudio2")],
)
def test_what_is_missing_is_one_sentence(monkeypatch, error, said) -> None:
    class Refuses:
        def find_spec(self, name, path=None, target=None) -> None:
            if name == "sounddevice":
                raise error

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=said), microphone(16_000):
        pass
