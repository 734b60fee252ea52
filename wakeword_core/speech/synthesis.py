"""Makes recordings for a phrase: speech in many voices, phrases that sound alike, sentences, and background."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.audio import from_pcm16, resample, write_audio
from wakeword_core.config import Role, SourceConfig, SynthesisConfig
from wakeword_core.cores import available_cores, process_pool
from wakeword_core.errors import DataError, WakewordError, reason_of
from wakeword_core.files import contained, read_json, require_space, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.speech import background, espeak, hibari, phonetics
from wakeword_core.speech.plan import (
    BABBLE,
    SPEAKER_RULE,
    SPOKEN_ROLES,
    WORDS,
    Plan,
    Scene,
    Utterance,
    neural_can_read,
    plan,
    plan_speech,
)
from wakeword_core.speech.sentences import sentences, single_words

log = logging.getLogger(__name__)

Samples = NDArray[np.float32]

SOURCES_FILE = "sources.json"
_LICENCES = {"espeak": "synthetic (espeak-ng)", "hibari": "synthetic (hibari-tts, Apache-2.0)"}
_BACKGROUND_LICENCE = "synthetic"

_NEUTRAL_RATE = 170
_VOICED_FRAME_SECONDS = 0.005
_VOICED_RATIO = 0.004
_PEAK = 0.95
_RECORDINGS_A_TEXT = 4
_ITEMS_A_TASK = 12
_WORTH_A_PROCESS = 150
_SECONDS_A_RECORDING = 4.0


@dataclass(frozen=True)
class SynthesisSummary:
    """What was made: recordings, seconds and speakers of each role, and how many different texts were said."""

    recordings: dict[str, int]
    seconds: dict[str, float]
    speakers: dict[str, int]
    texts: dict[str, int]


def synthesize(
    phrase: str,
    config: SynthesisConfig,
    sample_rate: int,
    seed: int,
    out: Path,
    progress: Progress = silent,
    workers: int = 0,
) -> SynthesisSummary:
    """Write recordings for a wake word under `out`, as FLAC at `sample_rate` Hz, and `sources.json` that lists them.

    `positive/`, `hard_negative/`, `negative/` and `words/` hold speech, `background/<role>_<split>/` the rest. The
    bytes depend on the phrase, the settings, the seed and the engines' versions, not on `workers` (0: one a core).
    MissingDependencyError without the engines; DataError when the phrase gives no sound.
    """
    config = _readable(phrase, config)
    guard = phonetics.PhraseGuard(phrase)
    phrases = phonetics.confusable_phrases(phrase, -(-config.hard_negatives // _RECORDINGS_A_TEXT), seed)
    if config.hard_negatives and not phrases:
        raise DataError(f"nothing sounds like {phrase!r}; set synthesis.hard_negatives to 0 or choose another phrase")
    confusables = phonetics.draw(phrases, config.hard_negatives, np.random.default_rng([seed, len(phrases)]))
    spoken = sentences(max(config.negatives, 64 if config.background_minutes else 0), seed, guard)
    words = single_words(config.words, seed, guard)
    planned = plan(phrase, config, seed, confusables, spoken, words)
    expected_seconds = sum(scene.seconds for scene in planned.scenes) + _SECONDS_A_RECORDING * len(planned.utterances)
    require_space(out, int(expected_seconds * sample_rate * 2), "making synthetic recordings")
    seconds = _write_all((*planned.scenes, *planned.utterances), sample_rate, out, progress, workers)
    write_json(out / SOURCES_FILE, _sources(phrase, planned))
    return _summary(planned, seconds)


def require_readable(phrase: str, config: SynthesisConfig) -> None:
    """Raise DataError where a phrase that is to be said has letters that the voices cannot read."""
    unread = phonetics.unread_letters(phrase) if config.positives or config.hard_negatives else []
    if unread:
        raise DataError(
            f"the English voices cannot read {', '.join(unread)} in {phrase!r}: they would say the names of letters, "
            "or nothing, and a model would learn that instead of the phrase; write the phrase as it sounds, in English "
            "letters, or bring recordings of it and set synthesis.positives and synthesis.hard_negatives to 0"
        )


def synthetic_sources(folder: Path) -> list[SourceConfig]:
    """Read the sources that `synthesize` wrote in `folder`, with absolute paths; DataError if there are none."""
    listing = folder / SOURCES_FILE
    if not listing.is_file():
        raise DataError(f"{folder} holds no {SOURCES_FILE}; make the synthetic recordings again")
    try:
        entries = read_json(listing)
        return [SourceConfig(**{**entry, "path": contained(folder, entry["path"])}) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{listing} is damaged ({reason_of(error)}); make the synthetic recordings again") from error


def synthesize_phrase(
    text: str,
    count: int,
    sample_rate: int,
    seed: int,
    out: Path,
    progress: Progress = silent,
    config: SynthesisConfig | None = None,
) -> list[Path]:
    """Write `count` recordings of `text` in different voices into `out`, as FLAC; returns their paths in order.

    DataError when the text gives no sound.
    """
    if not text.strip():
        raise DataError(f"the text {text!r} gives no sound; use a text with words in it")
    settings = _readable(text, config or SynthesisConfig())
    planned = plan_speech("positive", [" ".join(text.split())], count, settings, seed)
    utterances = [replace(utterance, path=Path(utterance.path).name) for utterance in planned]
    _write_all(utterances, sample_rate, out, progress, 0)
    return [out / utterance.path for utterance in utterances]


def render(utterance: Utterance, sample_rate: int) -> Samples:
    """Render one planned utterance: float32 [samples] at `sample_rate` Hz; DataError when there is none."""
    speech = _speech(utterance, sample_rate)
    lead, tail = (round(seconds * sample_rate) for seconds in (utterance.lead_seconds, utterance.tail_seconds))
    generator = np.random.default_rng(utterance.seed)
    floor = background.coloured(lead + len(speech) + tail, sample_rate, generator, float(generator.uniform(0.0, 1.5)))
    sound = background.at_level(floor, utterance.quiet_dbfs)
    sound[lead : lead + len(speech)] += background.at_level(speech, utterance.level_dbfs)
    return np.clip(sound, -_PEAK, _PEAK)


def render_scene(scene: Scene, sample_rate: int) -> Samples:
    """Render one planned background recording: float32 [samples] at `sample_rate` Hz."""
    generator = np.random.default_rng(scene.seed)
    count = round(scene.seconds * sample_rate)
    if scene.kind == BABBLE:
        sound = background.babble([_speech(talker, sample_rate) for talker in scene.talkers], count, generator)
    else:
        sound = {**background.NOISES, **background.SCENES}[scene.kind](count, sample_rate, generator)
    return background.at_level(sound, scene.level_dbfs)


def _speech(utterance: Utterance, sample_rate: int) -> Samples:
    """What the engine says, at `sample_rate`, without the quiet around it."""
    if utterance.engine == "hibari":
        speed = utterance.rate / _NEUTRAL_RATE
        samples, rate = hibari.speak(utterance.text, speed=speed, seed=utterance.seed, factor=utterance.factor)
    else:
        pcm, rate = espeak.speak(
            utterance.text,
            espeak.Voice(utterance.accent, utterance.variant),
            rate=utterance.rate,
            pitch=utterance.pitch,
            intonation=utterance.intonation,
        )
        samples = from_pcm16(pcm)
    return resample(_trimmed(samples, rate), rate, sample_rate)


def _trimmed(x: Samples, rate: int) -> Samples:
    """Without the quiet before and after; where sound begins is judged by frames of 5 ms against the loudest."""
    frame = max(1, round(_VOICED_FRAME_SECONDS * rate))
    padded = np.pad(x, (0, -len(x) % frame)).reshape(-1, frame)
    energy = np.abs(padded).max(axis=1)
    loud = np.flatnonzero(energy > _VOICED_RATIO * energy.max())
    return x[loud[0] * frame : (loud[-1] + 1) * frame]


def _write_all(
    items: Sequence[Utterance | Scene], sample_rate: int, out: Path, progress: Progress, workers: int
) -> list[float]:
    """Render and write every item, in this process when there are few; returns their seconds in order."""
    tasks = [list(items[start : start + _ITEMS_A_TASK]) for start in range(0, len(items), _ITEMS_A_TASK)]
    processes = min(workers or available_cores(), max(1, len(items) // _WORTH_A_PROCESS))
    seconds: list[list[float]] = [[] for _ in tasks]
    done = 0
    progress("speech", 0, len(items))
    for index, result in _results(tasks, sample_rate, out, processes):
        seconds[index] = result
        done += len(result)
        progress("speech", done, len(items))
    return [value for task in seconds for value in task]


def _results(
    tasks: list[list[Utterance | Scene]], sample_rate: int, out: Path, processes: int
) -> Iterator[tuple[int, list[float]]]:
    if processes == 1:
        for index, task in enumerate(tasks):
            yield index, _write_task(task, sample_rate, out)
        return
    pool = process_pool(processes)
    try:
        futures = {pool.submit(_write_task, task, sample_rate, out): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise WakewordError(
            "a process that makes speech died (out of memory, or started from a script without a main guard); "
            "try again with fewer workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_task(items: list[Utterance | Scene], sample_rate: int, out: Path) -> list[float]:
    """Render and write some items; runs in a worker process. Returns their seconds."""
    seconds = []
    for item in items:
        sound = render(item, sample_rate) if isinstance(item, Utterance) else render_scene(item, sample_rate)
        write_audio(out / item.path, sound, sample_rate)
        seconds.append(len(sound) / sample_rate)
    return seconds


def _readable(phrase: str, config: SynthesisConfig) -> SynthesisConfig:
    """The settings, without the neural voice when it cannot read the phrase; DataError when no voice can."""
    require_readable(phrase, config)
    if neural_can_read(phrase):
        return config
    log.warning("%r has letters that English voices do not know; listen to some recordings before training", phrase)
    return config.model_copy(update={"neural_share": 0.0})


def _sources(phrase: str, planned: Plan) -> list[dict[str, Any]]:
    """Sources as JSON values: one a folder of speech and engine, and one a split for each kind of background.

    The neural engine has one voice: at several pitches it is still one person, who cannot be on both sides. So it is
    learnt from, and the other engine's voices are tested on, where there are both. Words alone are for learning.
    """
    entries: list[dict[str, Any]] = []
    only_words = all(item.path.startswith(f"{WORDS}/") for item in planned.utterances)
    for folder in (*SPOKEN_ROLES, WORDS):
        engines = sorted({item.engine for item in planned.utterances if item.path.startswith(f"{folder}/")})
        role = "negative" if folder == WORDS else folder
        for engine in engines:
            entry: dict[str, Any] = {
                "name": f"synthetic_{folder}_{engine}",
                "path": folder,
                "include": [f"*_{engine}-*"],
                "role": role,
                "licence": _LICENCES[engine],
                "speaker": SPEAKER_RULE,
                "speaker_space": "synthetic",
            }
            if only_words or (engine == "hibari" and len(engines) > 1):
                entry["split"] = "train"
            entries.append(entry | ({"label": phrase} if role == "positive" else {}))
    for kind, split in dict.fromkeys((scene.role, scene.split) for scene in planned.scenes):
        name, path = f"synthetic_{kind}_{split}", f"background/{kind}_{split}"
        licence = _BACKGROUND_LICENCE if kind == "noise" else f"{_BACKGROUND_LICENCE}; {_LICENCES['espeak']}"
        entries.append({"name": name, "path": path, "role": kind, "licence": licence, "split": split})
    return entries


def _summary(planned: Plan, seconds: list[float]) -> SynthesisSummary:
    items: list[Utterance | Scene] = [*planned.scenes, *planned.utterances]
    lengths: Counter[Role] = Counter()
    for item, value in zip(items, seconds, strict=True):
        lengths[item.role] += value  # type: ignore[assignment]
    spoken = {role: [item for item in planned.utterances if item.role == role] for role in SPOKEN_ROLES}
    return SynthesisSummary(
        recordings=dict(Counter(item.role for item in items)),
        seconds={role: round(value, 3) for role, value in lengths.items()},
        speakers={role: len({item.speaker for item in made}) for role, made in spoken.items()},
        texts={role: len({item.text for item in made}) for role, made in spoken.items()},
    )
