"""The trained model listens to the training split's recordings without a wake word; what it fires at becomes clips."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
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
from wakeword_core.mining.listening import StretchScorer, listen
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.shards.packed_split import iter_recordings, read_columns
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

PICTURE = "scores.png"
_TOP_CLIPS = 20
_SHOWN_ID = 12
_SECONDS_A_TASK = 1_800.0
"""Of sound that is listened to at once; the scores of a share do not depend on who listens."""
_SECONDS_A_SECOND = 0.002
"""About how long a core takes to listen to a second."""
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
    model: ScoringModel,
    shards: Path,
    config: Config,
    device: str,
    out: Path,
    progress: Progress = silent,
    workers: Workers = THIS_MACHINE,
) -> dict[str, Any]:
    """Write the clips that the model fires at in the shards of the training split; returns figures.

    The workers, whose `device` it is, listen to some recordings each. `out` gets shards, clips.parquet and, where there
    was any event, scores.png.
    """
    search = config.mining.search
    lengths = read_columns(shards, ["role", "seconds"])
    lengths = lengths.loc[lengths["role"].isin(MINED_ROLES), "seconds"].to_numpy(np.float64)
    planned = round(lengths.sum())
    threads = 1 if workers.elsewhere else config.compute.threads
    tasks = workers.map_unordered(
        partial(_listen_to, model.to("cpu"), shards, config, device, threads),
        _shares(lengths),
        lambda share: f"listening to recordings {share.start} to {share.stop - 1} of {shards}",
        here="in turn",
        seconds=_SECONDS_A_SECOND * planned,
        device=device,
    )
    clips: list[Clip] = []
    peaks: list[float] = []
    seconds = 0.0
    with closing(tasks):
        for share, heard in tasks:
            peaks += heard.peaks
            clips = choose_clips([*clips, *heard.clips], search.max_clips)
            seconds += lengths[share].sum()
            progress("mining (s)", min(round(seconds), planned), planned)
    write_clips(
        shards, clips, config.data.audio.sample_rate, out, lambda done: progress("cut mined clips", done, len(clips))
    )
    if peaks:
        (out / PICTURE).write_bytes(score_picture(peaks, [clip.score for clip in clips], search.min_score))
    return {
        "clips": len(clips),
        "events": len(peaks),  # before the limits of a recording and of all
        "listened": len(lengths),
        "hours": round(lengths.sum() / 3_600, 4),
        "sources": dict(sorted(Counter(clip.source for clip in clips).items())),
        "roles": dict(sorted(Counter(clip.from_role for clip in clips).items())),
        "top_clips": [_table_row(clip) for clip in clips[:_TOP_CLIPS]],
    }


@dataclass(frozen=True)
class _Heard:
    """What was heard in some recordings: the scores of all events, and the clips that may be kept of them."""

    peaks: list[float]
    clips: list[Clip]


def _shares(lengths: npt.NDArray[np.float64]) -> list[slice]:
    """Cut recordings of some seconds [recordings] in shares of about `_SECONDS_A_TASK`: the same for all workers."""
    shares = (np.cumsum(lengths) - lengths) // _SECONDS_A_TASK
    starts = np.flatnonzero(np.diff(shares, prepend=-1)).tolist()
    return [slice(start, stop) for start, stop in pairwise([*starts, len(lengths)])]


def _listen_to(model: ScoringModel, shards: Path, config: Config, device: str, threads: int, share: slice) -> _Heard:
    """Listen to a share of the recordings without a wake word, and cut the clips around the highest events."""
    search, rate = config.mining.search, config.data.audio.sample_rate
    scorer = StretchScorer(model, config.features, rate, device)
    window, reach = scorer.layout.window_samples, aligned_reach(config.features, rate)
    heard = _Heard([], [])
    with torch_threads(threads):
        for scored in listen(iter_recordings(shards, MINED_ROLES, share), scorer, scorer.layout):
            events = event_peaks(scored.ends / rate, scored.scores, search.min_score, search.lockout_seconds)
            heard.peaks.extend(scored.scores[events].tolist())
            heard.clips.extend(
                cut_clip(scored.recording, int(scored.ends[event]), scored.scores[event], window, reach, rate)
                for event in events[: search.per_recording]
            )
    return replace(heard, clips=choose_clips(heard.clips, search.max_clips))


def highest_scores(model: ScoringModel, shards: Path, config: Config, device: str) -> npt.NDArray[np.float64]:
    """Return the highest score of the model in each recording of shards of negatives, in their order: [recordings]."""
    scorer = StretchScorer(model, config.features, config.data.audio.sample_rate, device)
    heard = listen(iter_recordings(shards, MINED_ROLES), scorer, scorer.layout)
    with torch_threads(config.compute.threads):
        return np.array([scored.scores.max(initial=0.0) for scored in heard], dtype=np.float64)


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
