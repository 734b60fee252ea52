"""The trained model listens to the training split's recordings without a wake word; what it fires at becomes clips."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure
from wakeword_core.features.windows import aligned_reach
from wakeword_core.mining.clips import MINED_ROLES, Clip, choose_clips, cut_clip, write_clips
from wakeword_core.mining.listening import ScoredRecording, StretchScorer, listen
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import iter_recordings, seconds_by_role

PICTURE = "scores.png"
_TOP_CLIPS = 20
_SHOWN_ID = 12
_SPARE = 4
"""Candidates are thinned out when there are this many times the clips that are wanted."""
_PICTURE_INCHES = (6.4, 4.2)
_PICTURE_BINS = 40


def event_peaks(times: ArrayLike, scores: ArrayLike, min_score: float, lockout_seconds: float) -> list[int]:
    """Find the events in scores [n] at increasing times [n] in seconds: indices of their peaks, the highest first.

    An unbroken run of scores of at least `min_score` is one event, at its highest score; of events closer than
    `lockout_seconds` only the highest one counts. Of equals, the earlier.
    """
    moments, values = np.asarray(times, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    high = np.flatnonzero(values >= min_score)
    if not len(high):
        return []
    runs = np.split(high, np.flatnonzero(np.diff(high) > 1) + 1)
    peaks = np.array([run[values[run].argmax()] for run in runs])
    free = np.ones(len(peaks), dtype=bool)
    taken: list[int] = []
    for place in np.argsort(-values[peaks], kind="stable"):
        if free[place]:
            taken.append(int(peaks[place]))
            free &= np.abs(moments[peaks] - moments[peaks[place]]) >= lockout_seconds
    return taken


def score_picture(events: Sequence[float], kept: Sequence[float], min_score: float) -> bytes:
    """Draw a PNG: events by their score in [min_score, 1], and above them the clips that were kept."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(*_PICTURE_INCHES)
    axes = figure.subplots()
    edges = np.linspace(min_score, 1.0, _PICTURE_BINS + 1).tolist()
    axes.hist(events, edges, color=GREY, alpha=0.45, label=f"events ({len(events):,})")
    axes.hist(kept, edges, color=PALETTE[0], label=f"clips kept ({len(kept):,})")
    axes.set(xlabel="highest score of the event", ylabel="events", title="False alarms in the training split")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return as_png(figure)


def mine(
    model: ScoringModel, shards: Path, config: Config, device: str, out: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Write the clips that the model fires at in the shards of the training split; returns figures.

    `out` gets shards, clips.parquet and, where there was any event, scores.png.
    """
    search, rate = config.mining.search, config.data.audio.sample_rate
    scorer = StretchScorer(model, config.features, rate, device)
    planned = round(sum(seconds for role, seconds in seconds_by_role(shards).items() if role in MINED_ROLES))
    window, reach = scorer.layout.window_samples, aligned_reach(config.features, rate)
    candidates: list[Clip] = []
    peaks: list[float] = []
    listened, seconds = 0, 0.0
    with torch_threads(config.compute.threads):
        for scored in _listen(scorer, shards):
            events = event_peaks(scored.ends / rate, scored.scores, search.min_score, search.lockout_seconds)
            peaks += scored.scores[events].tolist()
            candidates += [
                cut_clip(scored.recording, int(scored.ends[event]), scored.scores[event], window, reach, rate)
                for event in events[: search.per_recording]
            ]
            if len(candidates) > _SPARE * search.max_clips:
                candidates = choose_clips(candidates, search.max_clips)
            listened, seconds = listened + 1, seconds + scored.recording.seconds
            progress("mining (s)", min(round(seconds), planned), planned)
    clips = choose_clips(candidates, search.max_clips)
    write_clips(shards, clips, rate, out, lambda done: progress("cut mined clips", done, len(clips)))
    if peaks:
        (out / PICTURE).write_bytes(score_picture(peaks, [clip.score for clip in clips], search.min_score))
    return {
        "clips": len(clips),
        "events": len(peaks),  # before the limits of a recording and of all
        "listened": listened,
        "hours": round(seconds / 3_600, 4),
        "sources": dict(sorted(Counter(clip.source for clip in clips).items())),
        "roles": dict(sorted(Counter(clip.from_role for clip in clips).items())),
        "top_clips": [_table_row(clip) for clip in clips[:_TOP_CLIPS]],
    }


def highest_scores(model: ScoringModel, shards: Path, config: Config, device: str) -> npt.NDArray[np.float64]:
    """Return the highest score of the model in each recording of shards of negatives, in their order: [recordings]."""
    scorer = StretchScorer(model, config.features, config.data.audio.sample_rate, device)
    with torch_threads(config.compute.threads):
        return np.array([scored.scores.max(initial=0.0) for scored in _listen(scorer, shards)], dtype=np.float64)


def _listen(scorer: StretchScorer, shards: Path) -> Iterator[ScoredRecording]:
    return listen(iter_recordings(shards, roles=MINED_ROLES), scorer, scorer.layout)


def _table_row(clip: Clip) -> dict[str, str | float]:
    return {
        "score": round(clip.score, 4),
        "source": clip.source,
        "from_role": clip.from_role,
        "speaker": clip.speaker,
        "from_recording_id": clip.from_recording_id[:_SHOWN_ID],
        "start_s": round(clip.start, 2),
        "end_s": round(clip.end, 2),
        "recording_id": clip.recording_id[:_SHOWN_ID],
    }
