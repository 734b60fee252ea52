"""Whether a take came through: what is wrong with it, said in one sentence, so that it can be said again at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import Pcm, from_pcm16, resample
from wakeword_core.recordings.vad import VAD_SAMPLE_RATE, SpeechDetector, speech_runs

Fault = Literal["silent", "clipped", "quiet", "no speech", "drowned", "late start", "early end", "twice", "long"]
Runs = Sequence[tuple[float, float]]
"""Where speech begins and ends, in seconds."""

SENTENCES: dict[Fault, str] = {
    "silent": "Nothing came from the microphone: is it muted, or another one in use?",
    "clipped": "It was too loud, and is cut off at full scale: move away from the microphone, or turn it down.",
    "quiet": "It was too quiet: speak up, come nearer, or turn the microphone up.",
    "no speech": "No speech was found in it: say it after the sign.",
    "drowned": "Your voice was hardly louder than the room: come nearer, or wait until it is quieter.",
    "late start": "Its beginning is cut off: wait for the sign, then speak.",
    "early end": "Its end is cut off: speak as soon as the sign comes.",
    "twice": "There was more than one utterance in it: say it once, without a pause in it.",
    "long": "It took longer than a model hears at once: say it once, and a little quicker.",
}
_FULL_SCALE = 32_768
_CLIPPED_SHARE = 0.001
"""Of the samples of the speech: a few at full scale are a plosive, which nobody hears."""
_QUIETEST_DBFS, _UNHEARD_DBFS = -45.0, -35.0
"""Of the loudest sample: quieter speech is too quiet, and so is what holds no speech and nothing louder."""
_CLEAR_DB = 6.0
"""How much louder than the room speech has to be."""
_AROUND_SECONDS, _ROOM_SECONDS = 0.2, 0.3
"""What is left out around speech, and how much there has to be besides, where the room is measured."""
_EDGE_SECONDS = 0.12
_PAUSE_SECONDS = 0.3
"""A longer one is no part of a phrase that is said once; the detector hears speech for 0.1 s after its end."""


@dataclass(frozen=True)
class Heard:
    """What was heard in a take: how long the speech in it is, how loud its loudest sample, and what is wrong if so."""

    speech_seconds: float
    peak_dbfs: float
    fault: Fault | None

    @property
    def sentence(self) -> str:
        """What is wrong and what to do; empty where nothing is."""
        return "" if self.fault is None else SENTENCES[self.fault]


class Hearing:
    """Listens to takes with the speech detector, which is loaded when the first one comes."""

    def __init__(self, threshold: float, longest_word: float) -> None:
        """Speech is what is as probable as the threshold; a wake word takes so many seconds at most."""
        self._threshold, self._longest_word = threshold, longest_word
        self._detector: SpeechDetector | None = None

    def utterance(self, pcm: Pcm, sample_rate: int, *, word: bool) -> Heard:
        """Listen to int16 [samples] in which something should be said: a wake word, once, or anything else."""
        self._detector = self._detector or SpeechDetector()
        sound = resample(from_pcm16(pcm), sample_rate, VAD_SAMPLE_RATE)
        runs = speech_runs(self._detector.probabilities(sound), self._threshold)
        longest = self._longest_word if word else None
        spoken = runs[-1][1] - runs[0][0] if runs else 0.0
        return Heard(spoken, level_dbfs(pcm), fault_of(pcm, sample_rate, runs, longest))

    def room(self, pcm: Pcm) -> Heard:
        """Listen to int16 [samples] of a room, which may be quiet and may hold speech."""
        fault: Fault | None = None
        if _is_silent(pcm):
            fault = "silent"
        elif _clipped_share(pcm) > _CLIPPED_SHARE:
            fault = "clipped"
        return Heard(0.0, level_dbfs(pcm), fault)


def fault_of(pcm: Pcm, sample_rate: int, runs: Runs, longest: float | None) -> Fault | None:
    """Return the gravest fault of int16 [samples] with speech in `runs`, or None.

    `longest` is how many seconds a phrase takes at most that is to be said once; without it, anything may be said.
    """
    if _is_silent(pcm):
        return "silent"
    speech = _within(runs, len(pcm), sample_rate)
    if not runs:
        return "quiet" if level_dbfs(pcm) < _UNHEARD_DBFS else "no speech"
    if _clipped_share(pcm[speech]) > _CLIPPED_SHARE:
        return "clipped"
    if level_dbfs(pcm[speech]) < _QUIETEST_DBFS:
        return "quiet"
    room = pcm[~_within(runs, len(pcm), sample_rate, _AROUND_SECONDS)]
    if len(room) >= _ROOM_SECONDS * sample_rate and _power(pcm[speech]) < _power(room) * 10 ** (_CLEAR_DB / 10):
        return "drowned"
    if runs[0][0] < _EDGE_SECONDS:
        return "late start"
    if runs[-1][1] > len(pcm) / sample_rate - _EDGE_SECONDS:
        return "early end"
    if longest is None:
        return None
    if any(later[0] - earlier[1] >= _PAUSE_SECONDS for earlier, later in pairwise(runs)):
        return "twice"
    return "long" if runs[-1][1] - runs[0][0] > longest else None


def level_dbfs(pcm: Pcm) -> float:
    """Return the level of the loudest of int16 [samples] in dBFS; -100 where there is nothing."""
    loudest = int(np.abs(pcm.astype(np.int32)).max(initial=0))
    return max(-100.0, 20 * float(np.log10(max(loudest, 1e-9) / _FULL_SCALE)))


def _within(runs: Runs, samples: int, sample_rate: int, around: float = 0.0) -> npt.NDArray[np.bool_]:
    """Which samples are in runs, or so many seconds around them."""
    inside = np.zeros(samples, bool)
    for start, end in runs:
        inside[max(0, round((start - around) * sample_rate)) : round((end + around) * sample_rate)] = True
    return inside


def _is_silent(pcm: Pcm) -> bool:
    return not len(pcm) or pcm.min() == pcm.max()


def _clipped_share(pcm: Pcm) -> float:
    return float(np.mean((pcm >= _FULL_SCALE - 1) | (pcm <= -_FULL_SCALE)))


def _power(pcm: Pcm) -> float:
    return float(np.mean(np.square(pcm, dtype=np.float64)))
