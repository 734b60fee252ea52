"""Makes recordings for a phrase: speech in many voices, phrases that sound alike, sentences, and background."""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wakeword_core.config import MannerName, Role, SourceConfig, SynthesisConfig
from wakeword_core.errors import DataError, MissingDependencyError, reason_of
from wakeword_core.files import contained, read_json, replacing, require_space, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.speech import people
from wakeword_core.speech.delivery import Delivery, accent_of
from wakeword_core.speech.engines import Engine, EngineSettings, Samples, make_engine
from wakeword_core.speech.engines.espeak import LICENCE as BABBLE_LICENCE
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.plan import (
    CARRIERS,
    SPEAKER_RULE,
    SPOKEN_ROLES,
    WORDS,
    Cast,
    Plan,
    Said,
    SpokenRole,
    plan,
    plan_speech,
)
from wakeword_core.speech.pronunciation import Pronunciations, phonetics, pronounce, spelt_out
from wakeword_core.speech.quality import Sound, find_faults, set_apart
from wakeword_core.speech.recognition import hear_all, is_recognised, make_recogniser
from wakeword_core.speech.rendering import Item, render, write_all
from wakeword_core.speech.texts.script import write_script
from wakeword_core.speech.utterances import Utterance
from wakeword_core.store.parts import Parts
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

log = logging.getLogger(__name__)

SOURCES_FILE = "sources.json"
_BACKGROUND_LICENCE = "synthetic"
_SHOWN_DROPPED = 40

_ALIKE: SpokenRole = "hard_negative"
_SECONDS_A_RECORDING = 4.0
_HEARD_LONGER_SECONDS = 0.06
"""Silero VAD hears a word end so much after its last sound (15 to 100 ms, by word and engine). An end that is stated is
as late, so that words are aligned alike whether other speech is around them or not."""


@dataclass(frozen=True)
class SynthesisSummary:
    """What was made: recordings, seconds and speakers of each role, and how many different texts were said."""

    recordings: dict[str, int]
    seconds: dict[str, float]
    speakers: dict[str, int]
    texts: dict[str, int]
    dropped: list[dict[str, Any]]
    """How many recordings of each engine are not fit to learn from, for each reason; the rest is without them."""
    dropped_recordings: list[dict[str, str]]
    """Some of these: where each is, why, what was to be said, and what was found instead."""


def synthesize(
    phrase: str,
    config: SynthesisConfig,
    sample_rate: int,
    seed: int,
    out: Path,
    cache: Path,
    progress: Progress = silent,
    workers: Workers = THIS_MACHINE,
    parts: Parts | None = None,
) -> SynthesisSummary:
    """Write recordings for a wake word under `out`, as FLAC at `sample_rate` Hz, and `sources.json` that lists them.

    `positive/`, `hard_negative/`, `negative/` and `words/` hold speech, `background/<role>_<split>/` the rest. The
    bytes depend on the phrase, the settings, the seed and the engines' versions, not on the `workers`.
    Models and voices that are fetched once are kept in `cache`, recordings in `parts`. What is not fit to learn from is
    moved to `dropped/`. MissingDependencyError without the engines or the recogniser; DataError when the phrase gives
    no sound, or an engine says most of it wrongly.
    """
    require_readable(phrase, config)
    recogniser = make_recogniser(config, workers.cores)
    if recogniser:
        recogniser.prepare()
    settings = EngineSettings(config, cache)
    pronunciations = pronunciations_of(phrase, config)
    wake_words = [spelt_out(word, config.phrase_language) for word in (phrase, *config.phrases)]
    engines = _engines(wake_words, pronunciations, settings)
    script = write_script(phrase, config, seed, pronunciations)
    others = [text for said in script.said for text in said.texts if said.folder.startswith((_ALIKE, WORDS))]
    cast = Cast(engines, config, seed, Delivery(wake_words, pronunciations, config, seed, others, script.sentences))
    planned = plan(script.said, config, cast, seed, script.sentences)
    expected_seconds = sum(scene.seconds for scene in planned.scenes) + _SECONDS_A_RECORDING * len(planned.utterances)
    require_space(out, int(expected_seconds * sample_rate * 2), "making synthetic recordings")
    items: list[Item] = [*planned.scenes, *planned.utterances]
    written = write_all(items, sample_rate, _with_espeak(engines), settings, out, progress, workers, parts)
    said, recordings = planned.utterances, written[len(planned.scenes) :]
    heard: dict[int, str] = {}
    if recogniser:
        asked = {
            place: (out / item.path, recordings[place])
            for place, item in enumerate(said)
            if is_recognised(item, config)
        }
        heard = hear_all(asked, recogniser, progress, workers, parts)
    sounds = [recording.sound for recording in recordings if recording.sound]
    faults = find_faults(said, sounds, heard, script.guard, pronunciations.phonemizer)
    dropped = set_apart(said, faults, out, parts or Parts(out))
    seconds = {item: recording.seconds for item, recording in zip(items, written, strict=True)}
    planned = replace(planned, utterances=tuple(item for place, item in enumerate(said) if place not in faults))
    write_json(out / SOURCES_FILE, _sources(script.said, planned, cast, seconds, out))
    return _summary(planned, seconds, dropped)


def require_readable(phrase: str, config: SynthesisConfig) -> None:
    """Raise DataError where a phrase that is to be said has letters that the voices cannot read."""
    if not (config.positives or config.hard_negatives or config.pieces):
        return
    pronunciations = pronunciations_of(phrase, config)
    without = "bring recordings of it and set synthesis.positives, synthesis.hard_negatives and synthesis.pieces to 0"
    advice = {phrase: without}
    advice |= dict.fromkeys(config.phrases, "leave it out of synthesis.phrases")
    advice |= dict.fromkeys(config.confusables, "leave it out of synthesis.confusables")
    for text, otherwise in advice.items():
        _require_readable(text, pronunciations, otherwise)


def pronunciations_of(phrase: str, config: SynthesisConfig) -> Pronunciations:
    """Return how words are said by the settings; DataError names a symbol of theirs that no voice could say."""
    language = config.phrase_language
    if not (config.positives or config.hard_negatives or config.pieces):
        return Pronunciations(config.pronunciations, language=language)
    wake_words = [spelt_out(text, language) for text in (phrase, *config.phrases)]
    confusables = [spelt_out(text, language) for text in config.confusables]
    return Pronunciations(config.pronunciations, wake_words, language, others=confusables)


def _require_readable(text: str, pronunciations: Pronunciations, otherwise: str) -> None:
    if unread := phonetics.unread_letters(pronunciations.unread(text)):
        raise DataError(
            f"the English voices cannot read {', '.join(unread)} in {text!r}: they would say the names of letters, or "
            "nothing, and a model would learn that instead of the phrase; say how it is pronounced in "
            "synthesis.pronunciations, or in which language in synthesis.phrase_language; or "
            f"{otherwise}"
        )


def synthetic_sources(folder: Path) -> list[SourceConfig]:
    """Read the sources that `synthesize` wrote in `folder`, with absolute paths; DataError if there are none."""
    listing = folder / SOURCES_FILE
    if not listing.is_file():
        raise DataError(f"{folder} holds no {SOURCES_FILE}; make the synthetic recordings again")
    try:
        entries = read_json(listing)
        return [
            SourceConfig(**{**entry, "path": contained(folder, entry["path"]), "synthetic": True}) for entry in entries
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{listing} is damaged ({reason_of(error)}); make the synthetic recordings again") from error


def synthesize_phrase(
    text: str,
    count: int,
    sample_rate: int,
    seed: int,
    out: Path,
    cache: Path,
    progress: Progress = silent,
    config: SynthesisConfig | None = None,
) -> list[Path]:
    """Write `count` recordings of `text` in different voices into `out`, as FLAC; returns their paths in order.

    DataError when the text gives no sound.
    """
    settings = EngineSettings(config or SynthesisConfig(), cache)
    utterances, engines = _plan_text(text, count, seed, settings)
    for utterance, made in zip(
        utterances, write_all(utterances, sample_rate, engines, settings, out, progress), strict=True
    ):
        _require_sound(utterance, made.sound)
    return [out / utterance.path for utterance in utterances]


@dataclass(frozen=True)
class Hearing:
    """One recording, float32 [samples], who speaks, how, and the name of its file."""

    samples: Samples
    ipa: str
    speaker: str
    manner: MannerName | None
    name: str


def say(text: str, sample_rate: int, seed: int, cache: Path, config: SynthesisConfig) -> Hearing:
    """Say a text as in the first recording of it; DataError when it gives no sound."""
    (utterance, *_), engines = _plan_text(text, 1, seed, EngineSettings(config, cache))
    voices = {voice.name: voice for voice in engines[utterance.engine].voices()}
    ipa = utterance.ipa or pronounce(utterance.text, accent_of(voices[utterance.voice].language))
    samples, sound = render(utterance, sample_rate, engines)
    _require_sound(utterance, sound)
    return Hearing(samples, ipa, utterance.speaker, utterance.manner, utterance.path)


def _require_sound(utterance: Utterance, sound: Sound | None) -> None:
    if sound is None or sound.peak == 0:
        raise DataError(
            f"the engine {utterance.engine} gives no sound for {utterance.text!r} in the voice {utterance.voice}; "
            "leave it out of synthesis.engines, or use another text"
        )


def _plan_text(text: str, count: int, seed: int, settings: EngineSettings) -> tuple[list[Utterance], dict[str, Engine]]:
    """Recordings of one text, by voices in turn, and the engines that say them."""
    if not text.strip():
        raise DataError(f"the text {text!r} gives no sound; use a text with words in it")
    config = settings.synthesis
    said = spelt_out(" ".join(text.split()), config.phrase_language)
    pronunciations = Pronunciations(config.pronunciations, (said,), config.phrase_language)
    _require_readable(said, pronunciations, "use another text")
    engines = _engines((said,), pronunciations, settings)
    cast = Cast(engines, config, seed, Delivery((said,), pronunciations, config, seed))
    planned = plan_speech("positive", [said], count, config, cast, seed)
    return [replace(utterance, path=Path(utterance.path).name) for utterance in planned], engines


def _engines(phrases: Sequence[str], pronunciations: Pronunciations, settings: EngineSettings) -> dict[str, Engine]:
    """Make and prepare the engines that speak and can read every phrase, which espeak can.

    Of the engines that speak unless others are named, one that is not installed is left out.
    """
    config = settings.synthesis
    if config.people_share:
        people.require()
    delivery = Delivery(phrases, pronunciations, config, 0)
    engines = {}
    for name in (name for name, share in config.engines.items() if share > 0):
        engine = make_engine(name, settings)
        try:
            engine.prepare()
        except MissingDependencyError as error:
            if name == EspeakEngine.name or config.engines != SynthesisConfig().engines:
                raise
            log.warning("%s speaks without %s: %s", EspeakEngine.name, name, error)
            continue
        unread = [phrase for phrase in phrases if not delivery.can_say(engine, phrase)]
        if not unread:
            engines[name] = engine
        else:
            log.warning(
                "%r is more than %s can read, so it is left to other voices; listen to some recordings before training",
                unread[0],
                name,
            )
    return engines or {EspeakEngine.name: EspeakEngine()}


def _with_espeak(engines: Mapping[str, Engine]) -> dict[str, Engine]:
    """Return the engines that render a plan: whoever else speaks, a babble is of espeak."""
    return {EspeakEngine.name: EspeakEngine(), **engines}


def _sources(
    script: Sequence[Said], planned: Plan, cast: Cast, seconds: Mapping[Item, float], out: Path
) -> list[dict[str, Any]]:
    """Sources as JSON values: those of each folder that something is said in, and of each kind of background.

    What has other speech around it is in tables below `out`, which say where the word is.
    """
    entries: list[dict[str, Any]] = []
    only_words = all(item.path.startswith(f"{WORDS}/") for item in planned.utterances)
    for said in script:
        for folder in (said.folder, f"{CARRIERS}/{said.folder}"):
            made = [item for item in planned.utterances if item.path.startswith(f"{folder}/")]
            for entry, own in _sources_of_folder(folder, made, cast, only_words):
                entry |= {"role": said.role} | ({"label": said.label} if said.label else {})
                if folder != said.folder:
                    entry |= {"path": f"{folder}/{entry['name']}.csv", "include": ["**/*"]}
                    _write_spans(out / entry["path"], own, seconds)
                entries.append(entry)
    for kind, split in dict.fromkeys((scene.role, scene.split) for scene in planned.scenes):
        name, path = f"synthetic_{kind}_{split}", f"background/{kind}_{split}"
        licence = _BACKGROUND_LICENCE if kind == "noise" else f"{_BACKGROUND_LICENCE}; {BABBLE_LICENCE}"
        entries.append({"name": name, "path": path, "role": kind, "licence": licence, "split": split})
    return entries


def _sources_of_folder(
    folder: str, said: Sequence[Utterance], cast: Cast, only_words: bool
) -> Iterator[tuple[dict[str, Any], list[Utterance]]]:
    """Yield a source for each engine and split with what its voices said.

    Voices that are held in a split are in sources of that split. One voice alone, as hibari has it, is one person at
    whatever pitch, who cannot be on both sides: it is learnt from, and the voices of others are tested on, where there
    are others in the cast. Words alone are for learning.
    """
    for engine in sorted({item.engine for item in said}):
        voices = cast.voices(engine)
        alone = len(cast.engines) == 1
        held = not only_words and not (alone and len({voice.split for voice in voices}) == 1)
        for split in sorted({voice.split for voice in voices}, key=str) if held else [None]:
            chosen = [voice for voice in voices if not held or voice.split == split]
            speakers = {f"{engine}-{voice.speaker}" for voice in chosen} & {item.speaker for item in said}
            if not speakers:
                continue
            every = len(chosen) == len(voices)
            entry: dict[str, Any] = {
                "name": f"synthetic_{folder.replace('/', '_')}_{engine}" + ("" if every else f"_{split or 'rest'}"),
                "path": folder,
                "include": [f"*_{engine}-*"] if every else [f"*_{speaker}_*" for speaker in sorted(speakers)],
                "licence": "; ".join(sorted({voice.licence for voice in chosen})),
                "speaker": SPEAKER_RULE,
                "speaker_space": "synthetic",
            }
            if only_words or split:
                entry["split"] = "train" if only_words else split
            yield entry, [item for item in said if item.speaker in speakers]


def _write_spans(table: Path, said: Sequence[Utterance], seconds: Mapping[Item, float]) -> None:
    """Write where in each recording the word is: what comes before and after it is as long as was planned.

    Ends are rounded down, since a word cannot end after its recording.
    """
    rows = ["path,speech_start,speech_end"]
    for item in said:
        end = seconds[item] - max(0.0, item.tail_seconds - _HEARD_LONGER_SECONDS)
        rows.append(f"{Path(item.path).name},{item.lead_seconds:.4f},{math.floor(end * 10_000) / 10_000:.4f}")
    with replacing(table) as part:
        part.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _summary(planned: Plan, seconds: Mapping[Item, float], dropped: list[dict[str, str]]) -> SynthesisSummary:
    items: list[Item] = [*planned.scenes, *planned.utterances]
    lengths: Counter[Role] = Counter()
    for item in items:
        lengths[item.role] += seconds[item]  # type: ignore[assignment]
    spoken = {role: [item for item in planned.utterances if item.role == role] for role in SPOKEN_ROLES}
    reasons = Counter((row["engine"], row["reason"]) for row in dropped)
    return SynthesisSummary(
        recordings=dict(Counter(item.role for item in items)),
        seconds={role: round(value, 3) for role, value in lengths.items()},
        speakers={role: len({item.speaker for item in made}) for role, made in spoken.items()},
        texts={role: len({item.text for item in made}) for role, made in spoken.items()},
        dropped=[
            {"engine": engine, "reason": reason, "recordings": count}
            for (engine, reason), count in sorted(reasons.items())
        ],
        dropped_recordings=dropped[:_SHOWN_DROPPED],
    )
