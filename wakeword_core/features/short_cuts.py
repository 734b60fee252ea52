"""What gives a wake word away besides its sound: how its recordings were made, as far as training rows show it.

Each recording is measured in a row that is aligned on it as on a wake word: on the last sound within 25 dB of its
loudest, which is found alike in all recordings. Where the recording does not fill the row there is silence, and what is
below the floor of the front end is silence too, as training has it. Of the measures, the level (gain is drawn anew) and
the noise (other noise is mixed in) survive training's views in part, since clean ones stay in; the length of the sound,
the bandwidth and clipping survive whole. What a row does not show, such as the length of
a file, its format, its rate or a constant offset, is left out: no model can learn it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16
from wakeword_core.config import FeaturesConfig, Role
from wakeword_core.features.windows import aligned_reach
from wakeword_core.files import digest
from wakeword_core.recordings.vad import energy_span
from wakeword_core.shards.packed_split import iter_recordings, read_columns
from wakeword_core.shards.shard_file import DIGEST, Recording

OTHER_ROLES: tuple[Role, ...] = ("hard_negative", "negative")
MOST_RECORDINGS = 500
"""Of a role, the first in the shards, which are shuffled."""
LEAST_RECORDINGS = 40
"""Of wake words, and of the others: with fewer, chance tells them apart."""
_FOLDS = 5
_FRAME_SECONDS = 0.02
_BESIDE_SECONDS = 0.3
"""Sound on either side of a word in which the noise under it is measured."""
_HEARD_DB = 3.0
"""Above the floor: what is nearer to it is silence."""
_FULL_SCALE = 0.999
_HIGH_HERTZ = 4_000
_BAND_HERTZ = 250
_BANDWIDTH_DB = -50.0
"""Below the strongest band: what is weaker is no part of a recording's bandwidth."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShortCut:
    """How far recordings of wake words are told from those of another role by such measures, as ROC-AUC (0.5: not)."""

    role: Role
    words: int
    others: int
    together: float
    alone: dict[str, float]
    """ROC-AUC of each measure by itself, the highest first."""
    medians: dict[str, tuple[float, float]]
    """Of each measure: among the wake words, and among the others."""

    @property
    def figures(self) -> dict[str, Any]:
        """All of it but the role, rounded, as JSON values."""
        measures = {
            name: {"auc": round(auc, 4), "medians": [round(value, 4) for value in self.medians[name]]}
            for name, auc in self.alone.items()
        }
        return {"words": self.words, "others": self.others, "auc": round(self.together, 4), "measures": measures}


def looked_at(shards: Path) -> str:
    """Hash what is looked at: the rows of the first recordings of each role."""
    rows = read_columns(shards, ["role", DIGEST])
    of_roles = [rows.loc[rows["role"] == role, DIGEST][:MOST_RECORDINGS] for role in ("positive", *OTHER_ROLES)]
    return digest([one.tolist() for one in of_roles])


def find_short_cuts(shards: Path, features: FeaturesConfig, sample_rate: int) -> list[ShortCut]:
    """Compare the wake words of the training shards with each other role that there is enough of."""
    before, after = aligned_reach(features, sample_rate)

    def measured(role: Role) -> "_Measured":
        recordings = islice(iter_recordings(shards, (role,)), MOST_RECORDINGS)
        return _Measured.of(recordings, before, after, sample_rate, features.frontend.log_floor)

    words = measured("positive")
    if len(words) < LEAST_RECORDINGS:
        return []
    others = {role: measured(role) for role in OTHER_ROLES}
    return [_compare(words, other, role) for role, other in others.items() if len(other) >= LEAST_RECORDINGS]


def measure(
    audio: npt.NDArray[np.int16], before: int, after: int, sample_rate: int, floor: float
) -> dict[str, float] | None:
    """Measure what a row of `before` and `after` samples around the sound's end shows; None where there is no sound.

    `floor` is the power in a bin of the spectrum below which all is alike. Decibels are whole: nobody hears less.
    """
    samples = from_pcm16(audio)
    if not samples.any():
        return None
    span = energy_span(samples, sample_rate)
    start, end = (round(seconds * sample_rate) for seconds in (span.start_seconds, span.end_seconds))
    first = max(end - before, 0)
    part = samples[first : end + after]
    row = np.zeros(before + after, np.float32)
    row[before - (end - first) :][: len(part)] = part
    levels, spectra = _levels(row, sample_rate, floor)
    size = 2 * (spectra.shape[1] - 1)
    silence = _silence(sample_rate, floor) + _HEARD_DB
    noisy = levels > silence
    beside = round(_BESIDE_SECONDS * sample_rate)
    near, near_spectra = _levels(samples[max(start - beside, first) : end + beside], sample_rate, floor)
    quietest = near_spectra[np.argsort(near)[: max(1, len(near) // 5)]].mean(axis=0)
    hertz = np.fft.rfftfreq(2 * (spectra.shape[1] - 1), 1 / sample_rate)
    power = spectra.mean(axis=0) - floor
    bands, bins = (np.bincount((hertz / _BAND_HERTZ).astype(int), weights) for weights in (power, None))
    heard = np.flatnonzero(bands >= np.maximum(bands.max() * 10 ** (_BANDWIDTH_DB / 10), floor * bins))
    begin = max(start, end - before)
    found = {
        "length of the sound (s)": (end - begin) / sample_rate,
        "noise before the sound (s)": _FRAME_SECONDS * _run(noisy[: (before - (end - begin)) // size][::-1]),
        "noise after the sound (s)": _FRAME_SECONDS * _run(noisy[-(-before // size) :]),
        "level (dBFS)": round(float(np.percentile(levels, 95))),
        "noise beside the sound (dBFS)": round(max(float(np.percentile(near, 10)), silence)),
        "bandwidth (kHz)": min((heard.max(initial=0) + 1) * _BAND_HERTZ, sample_rate / 2) / 1_000,
        "clipped samples": float(np.mean(np.abs(part) >= _FULL_SCALE)),
    }
    if sample_rate > 2 * _HIGH_HERTZ:
        found["noise above 4 kHz (dB)"] = round(
            float(10 * np.log10(quietest[hertz > _HIGH_HERTZ].sum() / quietest.sum()))
        )
    return found


def told_apart(measures: Doubles, is_word: npt.NDArray[np.bool_], speakers: npt.NDArray[np.str_]) -> float:
    """Cross-validate a logistic regression on ranks of measures [recordings, k] and their squares; returns its ROC-AUC.

    No speaker is on both sides where both kinds have enough of them; else folds are by recording.
    """
    from scipy.stats import rankdata
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    # standardised ranks: no outlier rules, and the scale of a measure is nothing to it
    ranks = (rankdata(measures, axis=0) / len(measures) - 0.5) * 12**0.5
    model = LogisticRegression(class_weight="balanced", max_iter=1_000)
    columns, folds = np.hstack([ranks, np.square(ranks)]), _folds(is_word, speakers)
    scores = cross_val_predict(model, columns, is_word, cv=folds, method="decision_function")
    return float(roc_auc_score(is_word, scores))


def told_by(values: Doubles, is_word: npt.NDArray[np.bool_]) -> float:
    """Return the ROC-AUC of a measure [recordings]: words have more of it, or less, or lie nearer to their median."""
    from sklearn.metrics import roc_auc_score

    upwards = float(roc_auc_score(is_word, values))
    nearer = float(roc_auc_score(is_word, -np.abs(values - np.median(values[is_word]))))
    return max(upwards, 1 - upwards, nearer)


def _folds(is_word: npt.NDArray[np.bool_], speakers: npt.NDArray[np.str_]) -> list[tuple[npt.NDArray[np.int64], ...]]:
    """Rows to fit on and rows to score, fold by fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if min(len(set(speakers[is_word])), len(set(speakers[~is_word]))) >= _FOLDS:
        by_speaker = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
        folds = list(by_speaker.split(is_word, is_word, speakers))
        if all(0 < is_word[rows].mean() < 1 for fold in folds for rows in fold):
            return folds
    return list(StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(is_word, is_word))


@dataclass(frozen=True)
class _Measured:
    """Measures of the recordings of a role, and who speaks in them."""

    rows: list[dict[str, float]]
    speakers: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(
        cls, recordings: Iterable[Recording], before: int, after: int, sample_rate: int, floor: float
    ) -> "_Measured":
        pairs = [(measure(one.audio, before, after, sample_rate, floor), one.speaker) for one in recordings]
        return cls([row for row, _ in pairs if row], [speaker for row, speaker in pairs if row])


def _compare(words: _Measured, others: _Measured, role: Role) -> ShortCut:
    names = list(words.rows[0])
    values = np.array([[row[name] for name in names] for row in words.rows + others.rows])
    is_word = np.arange(len(values)) < len(words)
    speakers = np.array(words.speakers + others.speakers)
    alone = {name: told_by(values[:, place], is_word) for place, name in enumerate(names)}
    return ShortCut(
        role,
        len(words),
        len(others),
        told_apart(values, is_word, speakers),
        dict(sorted(alone.items(), key=lambda pair: -pair[1])),
        _medians(names, values, is_word),
    )


def _medians(names: list[str], values: Doubles, is_word: npt.NDArray[np.bool_]) -> dict[str, tuple[float, float]]:
    pairs = zip(np.median(values[is_word], axis=0), np.median(values[~is_word], axis=0), strict=True)
    return {name: (float(word), float(other)) for name, (word, other) in zip(names, pairs, strict=True)}


def _run(flags: npt.NDArray[np.bool_]) -> int:
    """Count the flags that are set before the first that is not."""
    return len(flags) if flags.all() else int(np.argmin(flags))


@cache
def _silence(sample_rate: int, floor: float) -> float:
    """Return the level of silence in dBFS."""
    return float(_levels(np.zeros(1, np.float32), sample_rate, floor)[0][0])


def _levels(sound: npt.NDArray[np.float32], sample_rate: int, floor: float) -> tuple[Doubles, Doubles]:
    """Return the level in dBFS [frames] and the power [frames, bins] of whole frames, at least one, on the floor."""
    size = 2 * round(_FRAME_SECONDS * sample_rate / 2)
    padded = np.pad(sound.astype(np.float64), (0, max(0, size - len(sound))))
    frames = padded[: len(padded) // size * size].reshape(-1, size)
    window = np.hanning(size)
    spectra = np.full((len(frames), size // 2 + 1), floor)
    heard = frames.any(axis=1)  # much of a row may be silence around the sound
    spectra[heard] += np.square(np.abs(np.fft.rfft(frames[heard] * window)))
    return 10 * np.log10(np.mean(np.square(frames), axis=1) + floor / np.square(window).sum()), spectra
