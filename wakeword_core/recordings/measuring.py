"""What is measured of each recording: read from the recordings once, then remembered by their bytes."""

import base64
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from wakeword_core.audio import LOUDEST, AudioError, Samples, decoder_versions, probe, read_blocks, resample, to_mono
from wakeword_core.config import SourceConfig
from wakeword_core.config.recordings import HealthConfig
from wakeword_core.errors import ChangedRecordingError
from wakeword_core.files import digest
from wakeword_core.progress import Progress
from wakeword_core.python import library_versions
from wakeword_core.recordings.health import MEGABYTE, SPAN_ROLES
from wakeword_core.recordings.measures import FINGERPRINT, HEADER, LEVELS, SPEECH, Measures
from wakeword_core.recordings.near_duplicates import FINGERPRINT_VERSION, BandPowers, fingerprint
from wakeword_core.recordings.row import plain_rows
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.recordings.sources import as_hashed
from wakeword_core.recordings.vad import VAD_SAMPLE_RATE, SpeechDetector, energy_span
from wakeword_core.sound_formats import Source
from wakeword_core.workers.base import Workers

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MEASURING_VERSION = 2
"""Raised when the same bytes give another header, other levels or another span of speech: they are measured again."""
_DETECTOR_LIBRARIES = ("onnxruntime", "silero-vad", "soxr")
_SAVE_SECONDS = 2.0
_MOST_AT_ONCE, _MOST_SECONDS_AT_ONCE = 32, 300.0
"""Recordings, and seconds of sound, that one task measures at most."""
_SECONDS_A_HEADER, _SECONDS_A_SECOND = 0.001, 0.005
"""About how long a core takes for a header, and to measure a second of sound."""
_FULL_SCALE = 0.999
_QUIETEST_DBFS = -200.0
_KIND_DIGITS = 12


def _kind(name: str, *facts: Any) -> str:
    """What the cache calls a kind of fact, which tells how it was measured: by which code and which libraries."""
    return f"{name} {digest([MEASURING_VERSION, decoder_versions(), *facts])[:_KIND_DIGITS]}"


def add_headers(
    rows: pd.DataFrame,
    measures: Measures,
    sources: Sequence[SourceConfig],
    health: HealthConfig,
    cache: ScanCache,
    progress: Progress,
    workers: Workers,
) -> None:
    """Add what the headers of readable files say: the columns of `HEADER`, and header_error."""
    readable = (rows["unread"] == "") & (rows["size"] > 0) & (rows["size"] <= health.max_file_mb * MEGABYTE)
    kind = _kind("header")
    header = measures.column(kind, HEADER, readable)
    header.put(cache.facts(kind, header.unknown(readable)))
    missing = rows[readable & ~header.known].drop_duplicates("recording_id")
    with _Saver(cache) as saved:
        measured = _map(_headers, _jobs(missing, sources), _SECONDS_A_HEADER * len(missing), workers)
        for done, (job, facts) in enumerate(measured, 1):
            if isinstance(facts, str):
                header.put([(job.recording_id, {"error": facts})])
            else:
                header.put([(job.recording_id, facts)])
                saved.add(job.recording_id, kind, facts)
            progress("read headers", done, len(missing))
    header.add_to(rows, "header_error")


def add_sound(
    rows: pd.DataFrame,
    fit: pd.Series,
    measures: Measures,
    sources: Sequence[SourceConfig],
    health: HealthConfig,
    cache: ScanCache,
    progress: Progress,
    workers: Workers,
) -> None:
    """Add what the sound of the `fit` rows is: the columns of `LEVELS`, `SPEECH` and `FINGERPRINT`, levels_error."""
    spoken = rows["role"].isin(SPAN_ROLES)
    levels_kind, fingerprint_kind = _kind("levels"), _kind("fingerprint", FINGERPRINT_VERSION)
    speech_kind = _kind(f"speech {health.vad_threshold:g}", library_versions(_DETECTOR_LIBRARIES))
    levels = measures.column(levels_kind, LEVELS, fit)
    speech = measures.column(speech_kind, SPEECH, fit & spoken)
    prints = measures.column(fingerprint_kind, FINGERPRINT, fit)
    levels.put(cache.facts(levels_kind, levels.unknown(fit)))
    speech.put(cache.facts(speech_kind, speech.unknown(fit & spoken)))
    remembered = cache.facts(fingerprint_kind, prints.unknown(fit))
    prints.put((one, {"fingerprint": base64.b64decode(facts["patches"])}) for one, facts in remembered)
    peaks = levels.values("peak")
    unfit = levels.known & (np.isnan(peaks) | (peaks > LOUDEST))  # broken or no sound: there is nothing more to find
    needed = fit & (~levels.known | (~unfit & (~prints.known | (spoken & ~speech.known))))
    wanted = set(rows["recording_id"][needed & spoken])
    missing = rows[needed].drop_duplicates("recording_id")
    work = partial(_sounds, health.vad_threshold)
    with _Saver(cache) as saved:
        jobs = _jobs(missing, sources, wanted)
        for done, (job, sound) in enumerate(_map(work, jobs, _SECONDS_A_SECOND * missing["seconds"].sum(), workers), 1):
            progress("measure recordings", done, len(missing))
            recording_id = job.recording_id
            if isinstance(sound, str):
                levels.put([(recording_id, {"error": sound})])
                continue
            levels.put([(recording_id, sound.levels)])
            saved.add(recording_id, levels_kind, sound.levels)
            if sound.speech is not None:
                speech.put([(recording_id, sound.speech)])
                saved.add(recording_id, speech_kind, sound.speech)
            if sound.fingerprint is not None:
                prints.put([(recording_id, {"fingerprint": sound.fingerprint})])
                text = base64.b64encode(sound.fingerprint).decode()
                saved.add(recording_id, fingerprint_kind, {"patches": text})
    levels.add_to(rows, "levels_error")
    speech.add_to(rows)
    rows.loc[~spoken, ["speech_ratio", "speech_start", "speech_end"]] = np.nan


class _Saver:
    """Writes facts to the cache every other second, and what is left at the end, also when it comes early."""

    def __init__(self, cache: ScanCache) -> None:
        self._cache = cache
        self._fresh: list[tuple[str, str, Any]] = []
        self._saved = time.monotonic()

    def __enter__(self) -> "_Saver":
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._save()
        if isinstance(error, ChangedRecordingError):
            self._cache.forget_hash(Path(error.path))

    def add(self, recording_id: str, kind: str, facts: Any) -> None:
        self._fresh.append((recording_id, kind, facts))
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        self._cache.remember_facts(self._fresh)
        self._fresh.clear()
        self._saved = time.monotonic()


@dataclass(frozen=True)
class _Job:
    """A recording to be measured, and what is known of it."""

    recording_id: str
    path: Path
    sample_rate: int
    seconds: float
    spoken: bool


def _jobs(rows: pd.DataFrame, sources: Sequence[SourceConfig], spoken: Collection[str] = ()) -> Iterator[_Job]:
    roots = {source.name: source.root.resolve() for source in sources}
    known = rows.reindex(columns=["recording_id", "source", "path", "sample_rate", "seconds"], fill_value=0)
    for recording_id, name, path, rate, seconds in plain_rows(known):
        yield _Job(recording_id, roots[name] / path, int(rate), float(seconds), recording_id in spoken)


def _map(
    measure: Callable[[list[_Job]], list[Result]], jobs: Iterable[_Job], seconds: float, workers: Workers
) -> Iterator[tuple[_Job, Result]]:
    """Measure recordings, some in a task, as they finish; a core takes about so many `seconds` for all."""
    tasks = workers.map_unordered(
        measure, _some_at_once(jobs), lambda task: f"measuring {task[0].path}", here="threads", seconds=seconds
    )
    with closing(tasks):
        for task, results in tasks:
            yield from zip(task, results, strict=True)


def _some_at_once(jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
    task, seconds = list[_Job](), 0.0
    for job in jobs:
        task.append(job)
        seconds += job.seconds
        if len(task) == _MOST_AT_ONCE or seconds >= _MOST_SECONDS_AT_ONCE:
            yield task
            task, seconds = [], 0.0
    if task:
        yield task


def _headers(jobs: list[_Job]) -> list[dict[str, Any] | str]:
    return [_of_one(measure_header, job) for job in jobs]


def _sounds(vad_threshold: float, jobs: list[_Job]) -> list["Sound | str"]:
    def measure(job: _Job, source: Source) -> Sound:
        return measure_sound(source, job.sample_rate, _detector() if job.spoken else None, vad_threshold)

    return [_of_one(partial(measure, job), job) for job in jobs]


@functools.cache
def _detector() -> SpeechDetector:
    """The detector of this process, which threads share."""
    return SpeechDetector()


def _of_one(measure: Callable[[Source], Result], job: _Job) -> Result | str:
    """Measure the bytes that were hashed, or say why that fails this time: it says nothing lasting about the bytes."""
    path = job.path
    try:
        with as_hashed(path, job.recording_id) as source:
            return measure(source)
    except ChangedRecordingError:
        raise
    except AudioError as error:
        return _without_name(error, path)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    except Exception as error:
        log.warning("%s cannot be measured (%s: %s)", path, type(error).__name__, error)
        return f"cannot be measured ({type(error).__name__}: {error})"


def measure_header(source: Source) -> dict[str, Any]:
    """Return sample_rate, channels, frames and seconds, or `error`: a sentence without the path."""
    try:
        info = probe(source)
    except AudioError as error:
        return {"error": _about_bytes(error, source)}
    facts = {"sample_rate": info.sample_rate, "channels": info.channels, "frames": info.frames}
    return {**facts, "seconds": info.seconds}


@dataclass(frozen=True)
class Sound:
    """What is measured of a recording's sound."""

    levels: dict[str, Any]
    """peak (any channel, full scale is 1), rms_dbfs (of the channels' average), clipped_ratio, finite; or error."""
    speech: dict[str, Any] | None = None
    """speech_ratio, speech_start and speech_end in seconds, and heard: whether the detector found any."""
    fingerprint: bytes | None = None
    """What it sounds like, patch by patch; None when it cannot be decoded or holds no numbers."""


def measure_sound(source: Source, sample_rate: int, detector: SpeechDetector | None, threshold: float) -> Sound:
    """Measure levels, fingerprint and, with a detector, the span of speech, decoding once in bounded memory."""
    powers = BandPowers(sample_rate)
    peak, squares, clipped, frames, values = 0.0, 0.0, 0, 0, 0
    kept: list[Samples] = []
    try:
        for block in read_blocks(source):
            size = np.abs(block)
            peak = max(peak, float(size.max()))
            if not np.isfinite(size).all():
                return Sound({"finite": False})
            if peak > LOUDEST:
                return Sound({"peak": peak, "finite": True})
            mono = to_mono(block)
            clipped += int(np.count_nonzero(size >= _FULL_SCALE))
            squares += float(np.dot(mono.astype(np.float64), mono))
            frames, values = frames + len(mono), values + block.size
            powers.add(mono)
            if detector is not None:
                kept.append(mono)
    except AudioError as error:
        return Sound({"error": _about_bytes(error, source)})
    level = 10 * np.log10(squares / frames) if squares > 0 else _QUIETEST_DBFS
    levels = {
        "peak": round(peak, 6),
        "rms_dbfs": round(max(float(level), _QUIETEST_DBFS), 3),
        "clipped_ratio": round(clipped / max(values, 1), 6),
        "finite": True,
    }
    heard_as = fingerprint(powers.finish()).tobytes()
    if detector is None or not kept:
        return Sound(levels, None, heard_as)
    sound = resample(np.concatenate(kept), sample_rate, VAD_SAMPLE_RATE)
    span = detector.span(sound, threshold)
    where = span or energy_span(sound)
    length = frames / sample_rate
    speech = {
        "speech_ratio": round(where.ratio, 4),
        "speech_start": round(min(where.start_seconds, length), 4),
        "speech_end": round(min(where.end_seconds, length), 4),
        "heard": span is not None,
    }
    return Sound(levels, speech, heard_as)


def _about_bytes(error: AudioError, source: Source) -> str:
    """The sentence to remember with the bytes; what the disk refuses says nothing about the bytes, and goes on up."""
    if isinstance(error.__cause__, OSError):
        raise error
    return _without_name(error, source)


def _without_name(error: AudioError, source: Source) -> str:
    return str(error).removeprefix("the audio " if isinstance(source, bytes) else f"{source} ")
