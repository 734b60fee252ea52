"""Captures of the test that people have labelled: whether a model, as it ships, still makes the mistakes of then."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword_core.config import NEGATIVE_LABEL, Config
from wakeword_core.evaluation.streams.build import CONFUSABLE_ROLES, POSITIVE_ROLES
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import event_indices, prepare, wake_scores
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.shards.shard_file import Recording


@dataclass(frozen=True)
class CapturedCase:
    """What a model makes of a labelled capture."""

    recording_id: str
    label: str
    """The wake word that is said in it, or the label of everything else."""
    score: float
    """The highest threshold at which the model would hear the word in it, or where none is said would wake."""
    wrong: bool
    """Whether it misses the word, or wakes where none is said."""


def captured_cases(
    model: WakewordModel | JudgedModel, shards_folder: Path, config: Config, progress: Progress = silent
) -> list[CapturedCase]:
    """Play the captures of a split to a model, each by itself as it was recorded and then quiet, in shard order."""
    sources, cases = config.data.captured, list[CapturedCase]()
    for recording in iter_recordings(shards_folder, POSITIVE_ROLES + CONFUSABLE_ROLES) if sources else ():
        if recording.source in sources:
            cases.append(_case(recording, model))
            progress("captures of the test", len(cases), 0)
    return cases


def _case(recording: Recording, model: WakewordModel | JudgedModel) -> CapturedCase:
    pcm = np.concatenate([recording.audio, np.zeros(model.quiet_samples, np.int16)])
    times, scores = model.score_audio(pcm)
    wake, classes = wake_scores(scores, model.handicaps)
    heard = prepare(times, wake, model.detector, classes)
    said = recording.role in POSITIVE_ROLES
    counts = classes == model.labels.index(recording.label) if said else np.ones(len(classes), bool)
    woke = bool(counts[event_indices(heard, model.threshold, model.detector)].any())
    score = float(heard.held[counts].max(initial=0.0))
    label = recording.label if said else NEGATIVE_LABEL
    return CapturedCase(recording.recording_id, label, score, woke != said)
