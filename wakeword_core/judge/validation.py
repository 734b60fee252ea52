"""How a judge alone ranks the recordings of a split: those with a wake word first, if it learnt anything."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16
from wakeword_core.evaluation.streams.build import BACKGROUND_ROLES, CONFUSABLE_ROLES, POSITIVE_ROLES
from wakeword_core.runtime.judge_file import AnyJudge
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording

_AFTER_SECONDS = 0.2
"""From the end of speech to that of the window: within what the head has to tell a word in."""
_MOST_OF_A_KIND = 400


def score_recordings(judge: AnyJudge, shards: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Score the window at the end of the speech in each of the first few hundred recordings with a word, and without.

    Returns the score of the likeliest word [recordings] and whether there is one [recordings].
    """
    width, rate = judge.window_samples, judge.sample_rate
    windows, positive = [], []
    counts: Counter[bool] = Counter()
    for recording in iter_recordings(shards, (*POSITIVE_ROLES, *CONFUSABLE_ROLES, *BACKGROUND_ROLES)):
        spoken = recording.role in POSITIVE_ROLES
        if counts[spoken] < _MOST_OF_A_KIND:
            counts[spoken] += 1
            windows.append(_window(recording, width, rate))
            positive.append(spoken)
    if not windows:
        return np.empty(0, np.float32), np.empty(0, bool)
    scores = judge.score_sound(from_pcm16(np.stack(windows)))
    return scores[:, 1:].max(axis=1), np.asarray(positive)


def _window(recording: Recording, width: int, rate: int) -> npt.NDArray[np.int16]:
    """The sound up to shortly after the speech, or up to the middle where there is none, with quiet around."""
    end = (
        recording.speech_end + _AFTER_SECONDS if np.isfinite(recording.speech_end) else len(recording.audio) / rate / 2
    )
    last = max(1, round(end * rate))
    around = np.concatenate([np.zeros(width, np.int16), recording.audio, np.zeros(last, np.int16)])
    return around[last : last + width]
