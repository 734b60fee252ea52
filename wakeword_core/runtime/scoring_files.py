"""Scores and detections of audio files, as the command line gives them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import read_audio, to_pcm16
from wakeword_core.errors import DataError
from wakeword_core.files import replacing
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import Detection, wake_scores

Doubles = npt.NDArray[np.float64]


def score_file(model: WakewordModel, path: Path) -> tuple[Doubles, npt.NDArray[np.float32]]:
    """End of each window in seconds [n] and the score of the likeliest wake word [n] of one audio file."""
    times, scores = model.score_audio(to_pcm16(read_audio(path, model.sample_rate)))
    return times, wake_scores(scores)[0].astype(np.float32)


def score_files(model: WakewordModel, paths: Sequence[Path], out: Path) -> int:
    """Write the scores of audio files to the .npz file `out` and return how many scores there are.

    Arrays: `time` float64 [n] seconds within its file, `score` float32 [n]; with several files also `file_index`
    int64 [n] into `names` [files]. The scores of the files follow each other in the order given.
    """
    if not paths:
        raise DataError("no audio files were given to score; name at least one")
    scored = [score_file(model, path) for path in paths]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "time": np.concatenate([times for times, _ in scored]),
        "score": np.concatenate([scores for _, scores in scored]),
    }
    if len(paths) > 1:
        arrays["file_index"] = np.repeat(np.arange(len(paths)), [len(times) for times, _ in scored])
        arrays["names"] = np.asarray([str(path) for path in paths])
    with replacing(out) as part, part.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return len(arrays["time"])


def detect_file(model: WakewordModel, path: Path, threshold: float | None = None) -> list[Detection]:
    """Every detection in one audio file; the model's own threshold unless given."""
    return model.detect(to_pcm16(read_audio(path, model.sample_rate)), threshold)
