"""Sound from a microphone, in blocks. Needs PortAudio; `sounddevice` is imported when it is used, nowhere else."""

import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import StreamResampler, from_pcm16, to_mono, to_pcm16
from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.python import install_command

BLOCK_SECONDS = 0.08
_QUEUED_BLOCKS = 64  # about 5 s: what a listener that is further behind misses is lost, and is told so
_PATIENCE_SECONDS = 5.0
_USUAL_RATES = (48_000, 44_100, 32_000, 96_000)

Pcm = npt.NDArray[np.int16]
log = logging.getLogger(__name__)


@contextmanager
def microphone(sample_rate: int, name: str | None = None) -> Iterator[Iterator[Pcm]]:
    """Open an input device and yield its blocks, int16 [samples] of one channel, without end.

    `name` is a number or part of a name of PortAudio's, as text; None is the default device. One that does not open at
    this rate or with one channel is opened as it does: its channels are averaged, and it is resampled. Sound that is
    lost is counted in the log. MissingDependencyError without sounddevice or PortAudio; DataError without such a
    device, and when it falls silent.
    """
    sounddevice = portaudio("the microphone")
    blocks: queue.Queue[Pcm] = queue.Queue(_QUEUED_BLOCKS)
    losses = _Losses()

    def take(data: Pcm, frames: int, time: Any, status: Any) -> None:
        if status:
            losses.add(str(status))
        try:
            blocks.put_nowait(data.copy())
        except queue.Full:
            losses.add("this machine is too slow for the model")

    device = int(name) if name is not None and name.isdecimal() else name
    stream, rate = _opened(sounddevice, sample_rate, device, take)
    try:
        yield _converted(_blocks_of(blocks), rate, sample_rate)
    finally:
        _close(stream, sounddevice)
        losses.tell_all()


def _close(stream: Any, sounddevice: Any) -> None:
    with suppress(sounddevice.PortAudioError):  # of a device that is gone
        stream.__exit__(None, None, None)


class _Losses:
    def __init__(self) -> None:
        self._count, self._last = 0, ""

    def add(self, what: str) -> None:
        """Count a loss, and tell of the first, the tenth and so on."""
        self._count, self._last = self._count + 1, what
        if str(self._count).rstrip("0") == "1":
            self._tell("going on")

    def tell_all(self) -> None:
        """Tell how much was lost in all, where that was not told yet."""
        if self._count > 1:
            self._tell("words in it were not heard")

    def _tell(self, then: str) -> None:
        times = "once" if self._count == 1 else f"{self._count:,} times"
        log.warning("sound from the microphone was lost %s (%s); %s", times, self._last, then)


def _opened(sounddevice: Any, sample_rate: int, device: str | int | None, take: Any) -> tuple[Any, int]:
    """Open and start the device as it lets itself be opened: nearest to one channel at the rate that is wanted."""
    faults = (sounddevice.PortAudioError, ValueError)
    try:
        facts = sounddevice.query_devices(device, "input")
        rates = dict.fromkeys((sample_rate, round(facts["default_samplerate"]), *_USUAL_RATES))
        channels = dict.fromkeys((1, 2, max(1, int(facts["max_input_channels"]))))
    except faults as error:
        raise _cannot_open(sample_rate, device, error) from error
    first: Exception | None = None
    for rate, count in product(rates, channels):
        stream = None
        try:
            stream = sounddevice.InputStream(
                samplerate=rate,
                blocksize=round(BLOCK_SECONDS * rate),
                device=device,
                channels=count,
                dtype="int16",
                callback=take,
            )
            stream.__enter__()
        except faults as error:
            first = first or error
            if stream is not None:  # else the device would be taken at the next try
                _close(stream, sounddevice)
            continue
        if (rate, count) != (sample_rate, 1):
            log.info("the microphone gives %d channels at %d Hz, which become one at %d Hz", count, rate, sample_rate)
        return stream, rate
    raise _cannot_open(sample_rate, device, first) from first


def _cannot_open(sample_rate: int, device: str | int | None, error: Exception | None) -> DataError:
    which = "the default microphone" if device is None else f"microphone {device!r}"
    return DataError(
        f"{which} cannot be opened at {sample_rate} Hz or any usual rate ({error}); "
        "`python -m sounddevice` lists the devices, --device chooses one"
    )


def _converted(blocks: Iterator[Pcm], rate: int, sample_rate: int) -> Iterator[Pcm]:
    """Make blocks [samples, channels] at the device's rate one channel at the rate that is wanted."""
    resampler = StreamResampler(rate, sample_rate)
    for block in blocks:
        if rate == sample_rate and block.shape[1] == 1:
            yield block[:, 0]
        elif len(samples := resampler.push(to_mono(from_pcm16(block)))):
            yield to_pcm16(samples)


def _blocks_of(queued: "queue.Queue[Pcm]") -> Iterator[Pcm]:
    while True:
        try:
            yield queued.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            raise DataError(f"the microphone gave no sound for {_PATIENCE_SECONDS:g} s; is it still there?") from None


def portaudio(what: str) -> Any:
    """Import sounddevice; MissingDependencyError says what is missing for the microphone, or `what` else it is for."""
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependencyError(f"{what} needs sounddevice: {install_command('listen')}") from error
    except OSError as error:  # what it raises where the system has no PortAudio
        raise MissingDependencyError(
            f"{what} needs the system library PortAudio, which is not here: install it (Debian, Ubuntu: "
            "apt install libportaudio2; macOS: brew install portaudio)"
        ) from error
    return sounddevice
