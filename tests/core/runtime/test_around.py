"""The audio around detections, however the stream is cut."""

import numpy as np
import pytest

from wakeword_core.runtime.around import Around
from wakeword_core.runtime.detector import Detection

RATE = 100
PCM = np.arange(1_000, dtype=np.int16)
TIMES = (0.5, 2.0, 2.25, 9.9)
"""Of detections: one near the beginning, two that share audio, one near the end."""


def heard(size: int, before: float, after: float) -> list[tuple[float, list[int], int]]:
    """Time and audio of each detection, and after how many samples it came."""
    around, found = Around(RATE, before, after), []
    for start in range(0, len(PCM), size):
        piece = PCM[start : start + size]
        calls = [Detection(time, 1.0) for time in TIMES if start < time * RATE <= start + len(piece)]
        found += [(call.time, audio.tolist(), start + len(piece)) for call, audio in around.push(piece, calls)]
        assert len(around._kept) <= (before + after) * RATE + 2 * size
    return [*found, *((call.time, audio.tolist(), len(PCM)) for call, audio in around.finish())]


@pytest.mark.parametrize("size", [1, 7, 100, 5_000])
@pytest.mark.parametrize(("before", "after"), [(2.0, 0.5), (0.0, 0.0), (0.1, 3.0)])
def test_a_detection_comes_with_its_audio_as_soon_as_that_is_whole(size: int, before: float, after: float) -> None:
    found = heard(size, before, after)
    assert [time for time, _, _ in found] == list(TIMES)
    for time, audio, came in found:
        start, stop = round((time - before) * RATE), round((time + after) * RATE)
        assert audio == PCM[max(0, start) : stop].tolist()
        assert min(stop, len(PCM)) <= came <= max(min(stop, len(PCM)) + size - 1, size)
