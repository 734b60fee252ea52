"""Excerpts of sound to listen to and to look at, as data URIs for a page."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import Pcm, encode_flac
from wakeword_core.config import Config
from wakeword_core.evaluation.streams.build import CONFUSABLE_ROLES, Session, background_sessions, positive_sessions
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.stream_metrics import StreamResult

FrontEnd = Callable[[Pcm], NDArray[np.float32]]
"""int16 [samples] -> features [bands, frames]."""

_PALETTE = "magma"
_COLOURS = 256
_RANGE_PERCENTILES = (1.0, 99.7)
"""Of all pictures of a table together, so that a silent recording looks silent beside the others."""
_LEAST_RANGE = 1.0


@dataclass(frozen=True)
class Excerpt:
    """A piece of sound, int16 [samples], and where in it, in seconds, the word or the event is."""

    pcm: Pcm
    mark: tuple[float, float]


@dataclass(frozen=True)
class Player:
    """An excerpt ready for a page: sound and mel picture as data URIs, its length in seconds, and what is marked."""

    audio: str
    picture: str
    seconds: float
    mark: tuple[float, float]
    """From and to, as shares of the excerpt."""


def cut(pcm: Pcm, rate: int, start: float, end: float, seconds: float) -> Excerpt:
    """Cut `seconds` of [samples] around the span from `start` to `end` (in seconds), or less if it is shorter."""
    length = min(round(seconds * rate), len(pcm))
    first = round((start + end) / 2 * rate) - length // 2
    first = min(max(first, 0), len(pcm) - length)
    length_seconds = length / rate
    mark = tuple(min(max(moment - first / rate, 0.0), length_seconds) for moment in (start, end))
    return Excerpt(pcm[first : first + length].copy(), (mark[0], mark[1]))


def word_excerpts(
    sessions: Iterable[Session], recording_ids: Iterable[str], rate: int, seconds: float
) -> dict[str, Excerpt]:
    """Cut the words of some recordings out of their sessions, noise and all: recording_id -> excerpt."""
    waiting, excerpts = set(recording_ids), {}
    for session in sessions if waiting else ():
        for word in session.words:
            if word.recording_id in waiting:
                excerpts[word.recording_id] = cut(session.pcm, rate, word.start, word.end, seconds)
                waiting.discard(word.recording_id)
        if not waiting:
            break
    return excerpts


def moment_excerpts(
    sessions: Iterable[Session], moments: Iterable[tuple[str, float]], rate: int, window: float, seconds: float
) -> dict[tuple[str, float], Excerpt]:
    """Cut what sounded before moments (recording_id, seconds in it) in their sessions; `window` seconds are marked."""
    waiting, excerpts = set(moments), {}
    for session in sessions if waiting else ():
        for span in session.sources:
            # by a sample more or less: the moment was computed from the span's own rounded ends
            first, last = span.offset - 1 / rate, span.offset + span.end - span.start + 1 / rate
            for moment in [
                moment for moment in waiting if moment[0] == span.recording_id and first <= moment[1] <= last
            ]:
                at = span.start + moment[1] - span.offset
                excerpts[moment] = cut(session.pcm, rate, at - window, at, seconds)
                waiting.discard(moment)
        if not waiting:
            break
    return excerpts


def players(excerpts: Sequence[Excerpt | None], front_end: FrontEnd, rate: int) -> list[Player | None]:
    """Turn excerpts into players, their pictures on one scale of colours; None stays None."""
    mels = [None if excerpt is None or not len(excerpt.pcm) else front_end(excerpt.pcm) for excerpt in excerpts]
    values = [mel.ravel() for mel in mels if mel is not None and mel.size]
    if not values:
        return [None] * len(excerpts)
    low, high = np.percentile(np.concatenate(values), _RANGE_PERCENTILES)
    return [
        None if excerpt is None or mel is None or not mel.size else _player(excerpt, mel, rate, float(low), float(high))
        for excerpt, mel in zip(excerpts, mels, strict=True)
    ]


def stream_players(
    result: StreamResult, conditions: Sequence[Condition], front_end: FrontEnd, shards: Path, config: Config
) -> tuple[list[Player | None], ...]:
    """Cut the worst misses, false alarms and short phrases as a model heard them: the sessions are made once more."""
    rate, seconds = config.data.audio.sample_rate, config.evaluation.report.clip_seconds
    window = config.features.frontend.window_samples / rate
    clips = config.evaluation.report.clips
    misses, alarms, phrases = result.miss_list[:clips], result.false_alarms[:clips], result.short_phrases.alarms[:clips]
    missed: dict[tuple[str, str], Excerpt] = {}
    for condition in conditions:
        recording_ids = {miss.recording_id for miss in misses if miss.condition == condition.name}
        sessions = positive_sessions(shards, config, config.seed, condition)
        excerpts = word_excerpts(sessions, recording_ids, rate, seconds)
        missed |= {(condition.name, recording): excerpt for recording, excerpt in excerpts.items()}
    heard = chain(background_sessions(shards, config), background_sessions(shards, config, CONFUSABLE_ROLES))
    moments = {(alarm.recording_id, alarm.time) for alarm in (*alarms, *phrases)}
    fired = moment_excerpts(heard, moments, rate, window, seconds)
    shown = [
        [missed.get((miss.condition, miss.recording_id)) for miss in misses],
        *([fired.get((alarm.recording_id, alarm.time)) for alarm in listed] for listed in (alarms, phrases)),
    ]
    return tuple(players(excerpts, front_end, rate) for excerpts in shown)


def mel_png(mel: NDArray[np.float32], low: float, high: float) -> bytes:
    """Draw log-mel [n_mels, frames] as a PNG of as many pixels, low bands below, coloured from `low` to `high`."""
    from matplotlib import colormaps
    from PIL import Image

    scaled = (mel - low) / max(high - low, _LEAST_RANGE) * (_COLOURS - 1)
    image = Image.fromarray(np.clip(np.rint(scaled[::-1]), 0, _COLOURS - 1).astype(np.uint8), mode="L")
    table = colormaps[_PALETTE](np.arange(_COLOURS), bytes=True)[:, :3]
    image.putpalette(table.astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    """Return bytes of a media type as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _player(excerpt: Excerpt, mel: NDArray[np.float32], rate: int, low: float, high: float) -> Player:
    seconds = len(excerpt.pcm) / rate
    return Player(
        audio=data_uri("audio/flac", encode_flac(excerpt.pcm, rate)),
        picture=data_uri("image/png", mel_png(mel, low, high)),
        seconds=seconds,
        mark=(excerpt.mark[0] / seconds, excerpt.mark[1] / seconds),
    )
