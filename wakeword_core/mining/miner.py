"""The trained model listens to the training split's recordings without a wake word; what it fires at becomes clips."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.features.windows import aligned_reach
from wakeword_core.mining.clips import MINED_ROLES, Clip, choose_clips, cut_clip, write_clips
from wakeword_core.mining.events import event_peaks
from wakeword_core.mining.listening import Heard, Layout, listen
from wakeword_core.mining.picture import score_picture
from wakeword_core.mining.scoring import StretchScorer
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import iter_recordings, seconds_by_role

PICTURE = "scores.png"
_TOP_CLIPS = 20
_SHOWN_ID = 12
_HELD = 4
"""Candidates are thinned out when there are this many times the clips that are wanted."""


@dataclass(frozen=True)
class MiningSummary:
    """What was heard and kept; `top_clips` are the highest scores."""

    clips: int
    events: int
    """Before the limits of a recording and of all."""
    listened: int
    """Recordings."""
    hours: float
    sources: dict[str, int]
    """Clips by the source of their origin."""
    roles: dict[str, int]
    """Clips by the role of their origin."""
    top_clips: list[dict[str, str | float]]


def mine(
    model: ScoringModel, shards: Path, config: Config, device: str, out: Path, progress: Progress = silent
) -> MiningSummary:
    """Write the clips that the model fires at in the shards of the training split: shards, clips.parquet, scores.png.

    Nothing found is a result too: no clips. Other splits are not looked at.
    """
    mining, rate = config.mining, config.data.sample_rate
    scorer = StretchScorer(model, config, device)
    planned = _planned_seconds(shards)
    candidates: list[Clip] = []
    peaks: list[float] = []
    listened, seconds = 0, 0.0
    with torch_threads(config.training.threads):
        for heard in _heard(scorer, shards):
            found = event_peaks(heard.ends / rate, heard.scores, mining.min_score, mining.lockout_seconds)
            peaks += heard.scores[found].tolist()
            candidates += _clips(heard, found[: mining.per_recording], config, scorer.layout)
            if len(candidates) > _HELD * mining.max_clips:
                candidates = choose_clips(candidates, mining.max_clips)
            listened, seconds = listened + 1, seconds + heard.recording.seconds
            progress("mining (s)", min(round(seconds), planned), planned)
    clips = choose_clips(candidates, mining.max_clips)
    write_clips(shards, clips, rate, out, lambda done: progress("cut mined clips", done, len(clips)))
    if peaks:
        (out / PICTURE).write_bytes(score_picture(peaks, [clip.score for clip in clips], mining.min_score))
    return MiningSummary(
        clips=len(clips),
        events=len(peaks),
        listened=listened,
        hours=round(seconds / 3_600, 4),
        sources=dict(sorted(Counter(clip.source for clip in clips).items())),
        roles=dict(sorted(Counter(clip.origin_role for clip in clips).items())),
        top_clips=[_shown(clip) for clip in clips[:_TOP_CLIPS]],
    )


def highest_scores(model: ScoringModel, shards: Path, config: Config, device: str) -> npt.NDArray[np.float64]:
    """The highest score of the model in each recording of shards of negatives, in their order: [recordings]."""
    scorer = StretchScorer(model, config, device)
    with torch_threads(config.training.threads):
        return np.array([heard.scores.max(initial=0.0) for heard in _heard(scorer, shards)], dtype=np.float64)


def _heard(scorer: StretchScorer, shards: Path) -> Iterator[Heard]:
    return listen(iter_recordings(shards, roles=MINED_ROLES), scorer, scorer.layout)


def _planned_seconds(shards: Path) -> int:
    return round(sum(seconds for role, seconds in seconds_by_role(shards).items() if role in MINED_ROLES))


def _clips(heard: Heard, peaks: list[int], config: Config, layout: Layout) -> list[Clip]:
    """The clip around each of some scores of a recording."""
    rate = config.data.sample_rate
    reach = aligned_reach(config.features, rate)
    return [
        cut_clip(heard.recording, int(heard.ends[peak]), heard.scores[peak], layout.window_samples, reach, rate)
        for peak in peaks
    ]


def _shown(clip: Clip) -> dict[str, str | float]:
    """A row of the table of the highest scores, for people."""
    return {
        "score": round(clip.score, 4),
        "source": clip.source,
        "role": clip.origin_role,
        "speaker": clip.speaker,
        "origin": clip.origin[:_SHOWN_ID],
        "start_s": round(clip.start, 2),
        "end_s": round(clip.end, 2),
        "clip": clip.id[:_SHOWN_ID],
    }
