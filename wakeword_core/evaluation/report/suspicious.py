"""Training recordings that the finished model does not believe: silent, cut wrongly, or not what their label says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16
from wakeword_core.evaluation.measure.clips import Doubles, WindowScorer
from wakeword_core.evaluation.measure.metrics import LEAST_PROBABILITY
from wakeword_core.evaluation.report import players
from wakeword_core.evaluation.report.players import Excerpt
from wakeword_core.features.store import FeatureFile
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.detector import wake_scores
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording

_ROWS = 256
_OTHERS_OVERLAP = 4
"""Windows without a word begin every so many parts of a window: a word is recognised a little early or late as well."""
_HALF = 0.5
_LEAST_POWER = 1e-12


@dataclass(frozen=True)
class Suspicion:
    """A training recording and the clean window that its loss is of."""

    recording_id: str
    label: str
    positive: bool
    score: float
    """Of its own word for a positive, of the likeliest wake word for any other."""
    loss: float
    """-log of the probability of its own class, in nats."""
    start: float
    """Where the window begins, in seconds of the recording; below 0 where it begins before it."""


@dataclass(frozen=True)
class SuspiciousRecordings:
    """The worst first, and how many of how many recordings score on the wrong side of one half."""

    worst: list[Suspicion]
    positives: int
    positives_wrong: int
    others: int
    others_wrong: int


@dataclass(frozen=True)
class Described:
    """What there is to know about a suspicious recording, besides its scores."""

    source: str
    role: str
    seconds: float
    level_dbfs: float
    speech_start: float | None
    speech_end: float | None


@dataclass(frozen=True)
class Cut:
    """How a model's windows are cut from stored rows: frames a window, samples a frame, frames between scores, Hz."""

    frames: int
    hop: int
    stride: int
    rate: int


def suspicious_recordings(
    score: WindowScorer, features: Path, cut: Cut, count: int, progress: Progress = silent
) -> SuspiciousRecordings:
    """Find the `count` recordings of the highest loss over a split's clean views, half of them positives.

    A positive has the loss of its best window that ends after the word, since the word is in few; any other recording
    that of its worst. Where one kind has too few, the other fills up.
    """
    file = FeatureFile(features)
    clean = file.column("views") == 0
    labels = file.column("labels").astype(np.int64)
    losses, scores, offsets = _deciding_windows(score, file, clean, labels, cut, progress)
    recording_ids, labels = file.column("recording_ids").astype(np.str_)[clean], labels[clean]
    starts = (file.column("starts")[clean] + offsets * cut.hop) / cut.rate
    suspicions = [
        Suspicion(
            recording_id=str(recording_ids[row]),
            label=file.labels[labels[row]],
            positive=bool(labels[row] > 0),
            score=float(scores[row]),
            loss=float(losses[row]),
            start=float(starts[row]),
        )
        for row in _deciding_rows(recording_ids, losses, labels > 0)
    ]
    suspicions.sort(key=lambda suspicion: (-suspicion.loss, suspicion.recording_id))
    positives, others = (
        [suspicion for suspicion in suspicions if suspicion.positive is kind] for kind in (True, False)
    )
    kept = min(len(positives), max(count // 2, count - len(others)))
    chosen = {suspicion.recording_id for suspicion in [*positives[:kept], *others[: count - kept]]}
    return SuspiciousRecordings(
        worst=[suspicion for suspicion in suspicions if suspicion.recording_id in chosen],
        positives=len(positives),
        positives_wrong=sum(suspicion.score < _HALF for suspicion in positives),
        others=len(others),
        others_wrong=sum(suspicion.score > _HALF for suspicion in others),
    )


def describe(
    shards: Path, suspicions: list[Suspicion], rate: int, window: float, seconds: float
) -> tuple[list[Described], list[Excerpt]]:
    """Describe the recording of each suspicion, and cut an excerpt around its window (of `window` seconds)."""
    starts = {suspicion.recording_id: suspicion.start for suspicion in suspicions}
    described: dict[str, Described] = {}
    excerpts: dict[str, Excerpt] = {}
    for recording in iter_recordings(shards) if starts else ():
        if (start := starts.get(recording.recording_id)) is not None:
            described[recording.recording_id] = _describe(recording)
            excerpts[recording.recording_id] = players.cut(recording.audio, rate, start, start + window, seconds)
            if len(described) == len(starts):
                break
    return [described[suspicion.recording_id] for suspicion in suspicions], [
        excerpts[suspicion.recording_id] for suspicion in suspicions
    ]


def _describe(recording: Recording) -> Described:
    power = float(np.mean(np.square(from_pcm16(recording.audio)))) if len(recording.audio) else 0.0
    known = bool(np.isfinite(recording.speech_start) and np.isfinite(recording.speech_end))
    return Described(
        source=recording.source,
        role=recording.role,
        seconds=float(recording.seconds),
        level_dbfs=float(10 * np.log10(max(power, _LEAST_POWER))),
        speech_start=float(recording.speech_start) if known else None,
        speech_end=float(recording.speech_end) if known else None,
    )


def _deciding_windows(
    score: WindowScorer,
    file: FeatureFile,
    clean: NDArray[np.bool_],
    labels: NDArray[np.int64],
    cut: Cut,
    progress: Progress,
) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
    """Return loss, score and first frame of the window that decides in each clean row, reading a block at a time."""
    ends = file.column("word_ends").astype(np.int64)
    losses: list[float] = []
    scores: list[float] = []
    offsets: list[int] = []
    for start, mel, _ in file.blocks(_ROWS):
        for row in np.flatnonzero(clean[start : start + len(mel)]).tolist():
            label = int(labels[start + row])
            places = _places(mel.shape[2], int(ends[start + row]), label > 0, cut)
            windows = np.stack([mel[row][:, place : place + cut.frames] for place in places]).astype(np.float32)
            probabilities = np.asarray(score(windows), dtype=np.float64)
            lost = -np.log(np.maximum(probabilities[:, label], LEAST_PROBABILITY))
            own = probabilities[:, label] if label else wake_scores(probabilities)[0]
            best = int(lost.argmin() if label else lost.argmax())
            losses.append(float(lost[best]))
            scores.append(float(own[best]))
            offsets.append(places[best])
        progress("training clips looked through", min(start + len(mel), len(file)), len(file))
    return np.array(losses, dtype=np.float64), np.array(scores, dtype=np.float64), np.array(offsets, dtype=np.int64)


def _places(frames: int, word_end: int, positive: bool, cut: Cut) -> list[int]:
    """Return the windows' first frames in a row: at every score after the word, or spread over a row without one."""
    last = frames - cut.frames
    if not positive:
        return [*range(0, last, max(1, cut.frames // _OTHERS_OVERLAP)), last]
    first = min(max(word_end + 1 - cut.frames, 0), last)
    return [*range(first, last, cut.stride), last]


def _deciding_rows(recording_ids: NDArray[np.str_], losses: Doubles, positive: NDArray[np.bool_]) -> list[int]:
    """Return the row of each recording that decides: the least loss of a positive, the greatest of any other."""
    signed = np.where(positive, losses, -losses)
    order = np.lexsort((signed, recording_ids))
    _, first = np.unique(recording_ids[order], return_index=True)
    rows: list[int] = order[first].tolist()
    return rows
