"""Sound from a microphone, in blocks. Needs PortAudio; `sounddevice` is imported when one is opened, nowhere else."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.python import install_command

BLOCK_SECONDS = 0.08
_QUEUED_BLOCKS = 64  # about 5 s: a listener that is further behind has lost sound, and is told so
_PATIENCE_SECONDS = 5.0

Pcm = npt.NDArray[np.int16]


@contextmanager
def microphone(sample_rate: int, device: str | int | None = None) -> Iterator[Iterator[Pcm]]:
    """Open an input device and yield its blocks, int16 [samples] of one channel, without end.

    `device` is a number or part of a name of PortAudio's, the default one if None. MissingDependencyError without
    sounddevice or PortAudio; DataError without such a device, and when it falls silent or its sound is lost.
    """
    sounddevice = _library()
    blocks: queue.Queue[Pcm] = queue.Queue(_QUEUED_BLOCKS)
    lost: list[str] = []

    def take(data: npt.NDArray[np.int16], frames: int, time: Any, status: Any) -> None:
        if status:
            lost.append(str(status))
        try:
            blocks.put_nowait(data[:, 0].copy())
        except queue.Full:
            lost.append("this machine is too slow for the model")

    try:
        stream = sounddevice.InputStream(
            samplerate=sample_rate,
            blocksize=round(BLOCK_SECONDS * sample_rate),
            device=device,
            channels=1,
            dtype="int16",
            callback=take,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        which = "the default microphone" if device is None else f"microphone {device!r}"
        raise DataError(
            f"{which} cannot be opened at {sample_rate} Hz ({error}); "
            "`python -m sounddevice` lists the devices, --device chooses one"
        ) from error
    with stream:
        yield _blocks_of(blocks, lost)


def _blocks_of(queued: "queue.Queue[Pcm]", lost: list[str]) -> Iterator[Pcm]:
    while True:
        try:
            block = queued.get(timeout=_PATIENCE_SECONDS)
        except queue.Empty:
            raise DataError(f"the microphone gave no sound for {_PATIENCE_SECONDS:g} s; is it still there?") from None
        if lost:
            raise DataError(f"sound from the microphone was lost ({lost[0]}); start again")
        yield block


def _library() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependencyError(f"the microphone needs sounddevice: {install_command('listen')}") from error
    except OSError as error:  # what it raises where the system has no PortAudio
        raise MissingDependencyError(
            "the microphone needs the system library PortAudio, which is not here: install it (Debian, Ubuntu: "
            "apt install libportaudio2; macOS: brew install portaudio)"
        ) from error
    return sounddevice
