"""Sound in m4a, webm and other files that libsndfile does not read, decoded with PyAV where that is installed."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_BLOCK_FRAMES = 1 << 16
_SHORTER_SECONDS = 0.25
"""By which what a codec gives may be shorter than its file says."""


class MediaError(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its name."""


def open_media(file: BinaryIO, kind: str, stack: ExitStack) -> tuple[int, int, Iterator[NDArray[np.float32]]]:
    """Return rate, channels and float32 blocks [frames, channels] of a file of this format, until `stack` is left.

    The format is named, so that no playlist or the like opens other files. MediaError here, or from the blocks.
    """
    import av

    file.seek(0)
    try:
        container = stack.enter_context(av.open(file, format=kind))
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"cannot be read as audio ({_brief(error)}); replace or remove it") from None
    if not container.streams.audio:
        raise MediaError("holds no sound; remove it")
    pieces = _pieces(container)
    first = next(pieces, None)
    if first is None:
        raise MediaError("holds no sound that can be decoded; replace or remove it")
    rate, samples = first
    return rate, samples.shape[1], _blocks(rate, chain([first], pieces), _announced_seconds(container, kind))


def _pieces(container: Any) -> Iterator[tuple[int, NDArray[np.float32]]]:
    import av

    as_floats = av.AudioResampler(format="flt")  # of planar frames with eight channels, PyAV reads beyond the last
    try:
        for frame in chain(container.decode(container.streams.audio[0]), [None]):
            for part in as_floats.resample(frame):
                yield part.sample_rate, np.asarray(part.to_ndarray(), np.float32).reshape(-1, part.layout.nb_channels)
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"breaks off while decoding ({_brief(error)}); replace or remove it") from None


def _blocks(
    rate: int, pieces: Iterator[tuple[int, NDArray[np.float32]]], announced: float
) -> Iterator[NDArray[np.float32]]:
    done, ready = 0, 0
    waiting: list[NDArray[np.float32]] = []
    for piece_rate, piece in pieces:
        if piece_rate != rate or (waiting and piece.shape[1] != waiting[0].shape[1]):
            raise MediaError("changes its sample rate or channels as it goes on; write it to a file again")
        waiting.append(piece)
        done += len(piece)
        if done - ready >= _BLOCK_FRAMES:
            yield np.concatenate(waiting)
            waiting.clear()
            ready = done
    if done < (announced - _SHORTER_SECONDS) * rate:
        raise MediaError(f"breaks off after {done / rate:.1f} of {announced:.1f} s; replace or remove it")
    if waiting:
        yield np.concatenate(waiting)


def _announced_seconds(container: Any, kind: str) -> float:
    """How long the sound is by its header; 0 where that says nothing, or FFmpeg guesses."""
    stream = container.streams.audio[0]
    if kind == "mov" and stream.duration:
        return float(stream.duration * stream.time_base)
    if kind in ("matroska", "asf") and container.duration and len(container.streams) == 1:
        return float(container.duration / 1e6)
    return 0.0


def _brief(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
