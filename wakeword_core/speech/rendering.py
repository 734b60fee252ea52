"""The recordings of a plan: each rendered once, on all cores, and kept as a part for later builds."""

import functools
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.audio import resample, write_audio
from wakeword_core.config import SynthesisConfig
from wakeword_core.files import as_type, digest
from wakeword_core.progress import Progress
from wakeword_core.speech import background, people
from wakeword_core.speech.cutting import faded, piece
from wakeword_core.speech.engines import Engine, EngineSettings, Line, Samples, make_engine, without_quiet
from wakeword_core.speech.engines.espeak import WORDS_A_MINUTE
from wakeword_core.speech.quality import Sound, measure
from wakeword_core.speech.scenes import BABBLE, Scene
from wakeword_core.speech.utterances import Utterance
from wakeword_core.store.parts import Parts
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

log = logging.getLogger(__name__)

_VOICED_RATIO = 0.004
_PEAK = 0.95
_ITEMS_A_TASK, _SECONDS_A_TASK = 12, 3.0
_SECONDS_A_SCENE = 0.05
_BACKGROUND = "background"
_SOUND = "sound"

Item = Utterance | Scene


@dataclass(frozen=True)
class Recording:
    """A recording that was written: its seconds, how what the engine said sounds, and the name of its part."""

    seconds: float
    sound: Sound | None
    """None of background."""
    key: str = ""


@dataclass(frozen=True)
class Rendered:
    """What a task made, and how many recordings each engine made in how much processor time."""

    recordings: list[Recording]
    work: dict[str, tuple[int, float]]


def render(utterance: Utterance, sample_rate: int, engines: Mapping[str, Engine]) -> tuple[Samples, Sound]:
    """Render one planned utterance: float32 [samples] at `sample_rate` Hz, and how the engine's speech sounds.

    What it says is from `lead_seconds` to `tail_seconds` before the end, whatever is said around it. The whole line is
    measured as the engine said it, before a manner changes it and a piece is cut from it. DataError where an engine
    cannot say it.
    """
    speech, measured = _speech(utterance, sample_rate, engines)
    if utterance.cut:
        speech = piece(speech, sample_rate, utterance.cut)
    lead, tail = (round(seconds * sample_rate) for seconds in (utterance.lead_seconds, utterance.tail_seconds))
    generator = np.random.default_rng(utterance.seed)
    floor = background.coloured(lead + len(speech) + tail, sample_rate, generator, float(generator.uniform(0.0, 1.5)))
    sound = background.at_level(floor, utterance.quiet_dbfs)
    sound[lead : lead + len(speech)] += background.at_level(speech, utterance.level_dbfs)
    if utterance.before:
        other = _said_around(utterance, utterance.before, sample_rate, engines)
        end = max(0, lead - round(utterance.before_gap * sample_rate))
        other = other if len(other) <= end else faded(other[len(other) - end :], sample_rate, "beginning")
        sound[end - len(other) : end] += other
    if utterance.after:
        other = _said_around(utterance, utterance.after, sample_rate, engines)
        start = lead + len(speech) + round(utterance.after_gap * sample_rate)
        room = max(0, len(sound) - start)
        other = other if len(other) <= room else faded(other[:room], sample_rate, "end")
        sound[start : start + len(other)] += other
    return np.clip(sound, -_PEAK, _PEAK), measured


def _said_around(utterance: Utterance, text: str, sample_rate: int, engines: Mapping[str, Engine]) -> Samples:
    """Other speech of the same voice, as loud."""
    speech, _ = _speech(replace(utterance, text=text, ipa=None), sample_rate, engines)
    return background.at_level(speech, utterance.level_dbfs)


def render_scene(scene: Scene, sample_rate: int, engines: Mapping[str, Engine]) -> Samples:
    """Render one planned background recording: float32 [samples] at `sample_rate` Hz."""
    generator = np.random.default_rng(scene.seed)
    count = round(scene.seconds * sample_rate)
    if scene.kind == BABBLE:
        talkers = [_speech(talker, sample_rate, engines)[0] for talker in scene.talkers]
        sound = background.babble(talkers, count, generator)
    else:
        sound = {**background.NOISES, **background.SCENES}[scene.kind](count, sample_rate, generator)
    return background.at_level(sound, scene.level_dbfs)


def _speech(utterance: Utterance, sample_rate: int, engines: Mapping[str, Engine]) -> tuple[Samples, Sound]:
    """What the engine says, at `sample_rate`, without the quiet around it, and how it sounds as it came."""
    samples, rate = engines[utterance.engine].say(
        Line(
            utterance.text,
            utterance.voice,
            utterance.ipa,
            utterance.rate / WORDS_A_MINUTE,
            utterance.pitch,
            utterance.intonation,
            utterance.seed,
        )
    )
    if not np.isfinite(samples).all() or not samples.any():
        return np.zeros(sample_rate, np.float32), measure(samples, rate, 0.0)
    speech = without_quiet(samples, rate, _VOICED_RATIO)
    measured = measure(samples, rate, len(speech) / rate)
    if utterance.manner is not None:
        speech = people.speak_as(speech, rate, utterance.manner, utterance.seed)
    return resample(speech, rate, sample_rate), measured


def write_all(
    items: Sequence[Item],
    sample_rate: int,
    engines: Mapping[str, Engine],
    settings: EngineSettings,
    out: Path,
    progress: Progress,
    workers: Workers = THIS_MACHINE,
    parts: Parts | None = None,
) -> list[Recording]:
    """Render and write every item below `out`; returns them in order.

    What `parts` holds is taken from there; what is made is kept there at once, with how it sounds, so that a killed
    build goes on. The `engines` are prepared; other processes make theirs from the `settings`.
    """
    written: dict[int, Recording] = {}
    keys = [_key(item, sample_rate, engines) for item in items] if parts else []
    for index, key in enumerate(keys):
        if parts and (found := _found(items[index], key, out, parts)):
            written[index] = found
    waiting = [index for index in range(len(items)) if index not in written]
    progress("speech", len(written), len(items))
    costs = {index: _cost(items[index], engines) for index in waiting}
    work: dict[str, list[tuple[int, float]]] = defaultdict(list)
    tasks = workers.map_unordered(
        partial(_write_some, _Speakers(engines, settings), sample_rate, out),
        ([(index, items[index]) for index in task] for task in _tasks(waiting, costs)),
        lambda task: f"making {task[0][1].path} and the recordings after it",
        seconds=sum(costs.values()),
    )
    with closing(tasks):
        for task, made in tasks:
            for (index, item), recording in zip(task, made.recordings, strict=True):
                written[index] = replace(recording, key=keys[index] if parts else "")
                if parts:
                    parts.keep(keys[index], out / item.path)
                    if recording.sound:
                        parts.add_facts(keys[index], {_SOUND: asdict(recording.sound)})
            for engine, figures in made.work.items():
                work[engine].append(figures)
            progress("speech", len(written), len(items))
    _log_work(work, len(items) - len(waiting))
    return [written[index] for index in range(len(items))]


def _found(item: Item, key: str, out: Path, parts: Parts) -> Recording | None:
    """Link a part that is there whole, and with what was measured of speech; None where there is none."""
    sound = None
    if isinstance(item, Utterance):
        try:
            sound = as_type(Sound, parts.facts(key).get(_SOUND))
        except ValueError:
            return None
    return Recording(_seconds_of(out / item.path), sound, key) if parts.link(key, out / item.path) else None


def _key(item: Item, sample_rate: int, engines: Mapping[str, Engine]) -> str:
    """A hash of all that the bytes of a recording depend on, but for the generation of its parts."""
    if isinstance(item, Utterance):
        speaking, recipe = {item.engine}, asdict(replace(item, path="", role="positive"))
    else:
        talkers = tuple(replace(talker, path="") for talker in item.talkers)
        speaking = {talker.engine for talker in talkers}
        recipe = asdict(replace(item, path="", split="train", talkers=talkers))
    versions = {name: engines[name].version for name in speaking}
    if isinstance(item, Utterance) and item.manner is not None:
        versions["people"] = people.version()
    return f"{digest([recipe, versions, sample_rate])}.flac"


def _cost(item: Item, engines: Mapping[str, Engine]) -> float:
    """About how many seconds of a core an item takes."""
    if isinstance(item, Utterance):
        line = engines[item.engine].seconds + (people.SECONDS if item.manner is not None else 0)
        return line * (1 + bool(item.before) + bool(item.after))
    return _SECONDS_A_SCENE + sum(engines[talker.engine].seconds for talker in item.talkers)


def _tasks(waiting: Sequence[int], costs: Mapping[int, float]) -> list[list[int]]:
    """Cut items into tasks of so many, and of less where they take long, so that no core waits for the last ones."""
    tasks: list[list[int]] = []
    spent = 0.0
    for index in waiting:
        if not tasks or len(tasks[-1]) == _ITEMS_A_TASK or spent + costs[index] > _SECONDS_A_TASK:
            tasks.append([])
            spent = 0.0
        tasks[-1].append(index)
        spent += costs[index]
    return tasks


@dataclass(frozen=True)
class _Speakers:
    """Engines that are ready to speak. In another process they are others, each of which loads its model once there."""

    engines: Mapping[str, Engine]
    settings: EngineSettings

    def __reduce__(self) -> tuple[Any, ...]:
        synthesis = self.settings.synthesis.model_dump_json()
        return _speakers_of_process, (tuple(self.engines), synthesis, self.settings.cache)


@functools.cache
def _speakers_of_process(names: Sequence[str], synthesis: str, cache: Path) -> _Speakers:
    settings = EngineSettings(SynthesisConfig.model_validate_json(synthesis), cache)
    return _Speakers({name: make_engine(name, settings) for name in names}, settings)


def _write_some(speakers: _Speakers, sample_rate: int, out: Path, items: Sequence[tuple[int, Item]]) -> Rendered:
    """Render and write some items."""
    recordings: list[Recording] = []
    work: dict[str, tuple[int, float]] = {}
    for _, item in items:
        started = time.thread_time()
        if isinstance(item, Utterance):
            name, (samples, sound) = item.engine, render(item, sample_rate, speakers.engines)
        else:
            name, samples, sound = _BACKGROUND, render_scene(item, sample_rate, speakers.engines), None
        write_audio(out / item.path, samples, sample_rate)
        count, spent = work.get(name, (0, 0.0))
        work[name] = count + 1, spent + time.thread_time() - started
        recordings.append(Recording(len(samples) / sample_rate, sound))
    return Rendered(recordings, work)


def _log_work(work: Mapping[str, Sequence[tuple[int, float]]], reused: int) -> None:
    if reused:
        log.info("%d recordings of speech and background were made before.", reused)
    for name in sorted(work):
        count, spent = (sum(values) for values in zip(*work[name], strict=True))
        if name != _BACKGROUND and spent > 0:
            log.info("%s said %d lines, %.1f a second of processor time.", name, count, count / spent)


def _seconds_of(path: Path) -> float:
    import soundfile

    info = soundfile.info(path)
    return float(info.frames / info.samplerate)
