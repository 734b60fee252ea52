"""Which synthetic recordings are fit to learn from: by the sound of what an engine said, and by what is heard in it."""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from wakeword_core.errors import DataError
from wakeword_core.files import write_json, write_text
from wakeword_core.speech import espeak
from wakeword_core.speech.engines import Samples
from wakeword_core.speech.engines.espeak import WORDS_A_MINUTE
from wakeword_core.speech.pronunciation import phonetics
from wakeword_core.speech.utterances import Utterance
from wakeword_core.store.parts import Parts

log = logging.getLogger(__name__)

Reason = Literal[
    "silent", "clipped", "cut", "uneven", "too short", "too long", "heard otherwise", "heard as the phrase"
]
DROPPED, REASONS_FILE = "dropped", "reasons.json"
"""The folder of recordings that are not fit to learn from, which is no source, and the list of why in it."""
DROPPED_PAGE = "listen_to_dropped.html"
"""The same as a page beside that folder, on which they can be heard."""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Dropped recordings</title>
<style>body { font: 16px/1.5 system-ui; margin: 24px; } td, th { padding: 4px 12px; text-align: left; }</style>
<h1>Recordings that are not fit to learn from</h1>
<table>
<tr><th>engine<th>why<th>what was to be said<th>what was found<th>sound
%s
</table>
</html>
"""
_PAGE_ROW = '<tr><td>{engine}<td>{reason}<td>{said}<td>{found}<td><audio controls preload="none" src="{path}"></audio>'

_FRAME_SECONDS = 0.01
"""Short enough for one burst of a consonant."""
_FULL_SCALE = 0.999
_SILENT_PEAK = 0.002
"""-54 dB of full scale: engines speak at -20 to 0, and what is left of a silent one is rounding and hiss."""
_MOST_CLIPPED = 0.01
"""Engines that scale to full scale reach it in a few samples; one in a hundred is audibly flattened."""
_MOST_AT_END = 0.5
"""Of the loudest 10 ms, in the last 10 ms: espeak and neural voices end at up to 0.3, and a vowel that is broken off at
nearly 1. Beginnings tell nothing, since espeak begins a vowel at up to 0.8."""
_MOST_UNEVEN_DB = 24.0
"""The loudest 10 ms of what engines say are up to 15 dB above most of it; a crack in a word is far above that."""
_AUDIBLE_DB = 50.0
"""Below the loudest, frames are pauses."""
_MOST_FRAMES = 75
"""The percentile of audible frames that stands for most of the speech: vowels, not the quieter consonants."""

_LEAST_SECONDS_A_PHONEME = 0.015
"""Nobody speaks 60 phonemes a second: what can be followed is at most half as fast, compressed speech included."""
_MOST_SECONDS_A_PHONEME = 0.8
"""Drawled words have vowels of half a second, and the other phonemes are shorter."""
_EDGE_PHONEMES = 2.0
"""The last syllable before a pause is drawn out by about as much as two phonemes last, whatever the text's length."""
_LEAST_TO_COMPARE = 12
"""Of fewer recordings neither the middle nor the spread is known."""
_MOST_DEVIATIONS = 6.0
_SIGMAS_A_MAD = 1.4826
"""The standard deviation of a normal distribution is this many times its median absolute deviation."""
_LEAST_FACTOR = 2.5
"""People say a word at half or twice the tempo: what differs by less than this is never too short or too long."""

_ACCENT = phonetics.HEARD_ACCENTS[0]
"""That in which what was said, and what was heard, are compared."""
MOST_UNHEARD = 0.5
"""Share of what was to be said that is not heard. Whisper writes names and broken words in many ways: of 96 recordings
of people the worst, "enjoy these" for "jarvis", has 0.39; "thank you", which it hears in noise, has 0.64 to 0.87."""
_MOST_DROPPED = 0.5
"""Of an engine's recordings of a role: with more, the engine cannot say them, and these are not its best."""
_FEWEST_DROPPED = 3
"""Of fewer, chance may have dropped most."""


@dataclass(frozen=True)
class Sound:
    """What was measured of a line as an engine said it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=0)]
    """Of speech, without the quiet around it."""
    peak: Annotated[float, Field(ge=0)]
    """Its loudest sample; 0 too where some samples are no numbers."""
    clipped: Annotated[float, Field(ge=0, le=1)]
    """Share of samples at full scale."""
    end: Annotated[float, Field(ge=0, le=1)]
    """Level of its last 10 ms, as a share of that of its loudest."""
    uneven_db: Annotated[float, Field(ge=0)]
    """By how much its loudest 10 ms are above most of it."""


@dataclass(frozen=True)
class Fault:
    """Why a recording is not used, in a word and in numbers or words for people."""

    reason: Reason
    details: str


def measure(samples: Samples, rate: int, seconds: float) -> Sound:
    """Measure what an engine said, [samples] at `rate` Hz as it came, of which `seconds` are speech."""
    frame = max(1, round(_FRAME_SECONDS * rate))
    if len(samples) < frame or not np.isfinite(samples).all() or not samples.any():
        return Sound(round(seconds, 4), 0.0, 0.0, 0.0, 0.0)
    magnitude = np.abs(samples)
    whole = samples[: len(samples) // frame * frame].astype(np.float64)
    levels = np.sqrt(np.square(whole).reshape(-1, frame).mean(axis=1))
    last = float(np.sqrt(np.square(samples[-frame:], dtype=np.float64).mean()))
    loudest = max(float(levels.max()), last)
    audible = levels[levels > loudest * 10 ** (-_AUDIBLE_DB / 20)]
    most = float(np.percentile(audible, _MOST_FRAMES)) if audible.size else loudest
    return Sound(
        round(seconds, 4),
        round(float(magnitude.max()), 6),
        round(float((magnitude >= _FULL_SCALE).mean()), 6),
        round(last / loudest, 4),
        round(20 * float(np.log10(loudest / most)), 2),
    )


def find_faults(
    utterances: Sequence[Utterance],
    sounds: Sequence[Sound],
    heard: Mapping[int, str],
    guard: phonetics.PhraseGuard,
    phonemize: phonetics.Phonemizer = espeak.phonemes,
) -> dict[int, Fault]:
    """Return what is wrong with recordings, by their places; DataError where most of an engine's are wrong."""
    faults = {**faults_of_words(utterances, heard, guard, phonemize), **faults_of_sound(utterances, sounds)}
    require_most(utterances, faults)
    return dict(sorted(faults.items()))


def kind_of(utterance: Utterance) -> tuple[str, str]:
    """Return by what recordings are compared with each other: the engine, and what is said, with or without others."""
    return utterance.engine, PurePosixPath(utterance.path).parent.name


def faults_of_sound(utterances: Sequence[Utterance], sounds: Sequence[Sound]) -> dict[int, Fault]:
    """Return the faults of recordings by their places, from how loud each is and how long.

    Lengths are compared with those of the same engine for the same kind of text, each at its tempo, so the same
    recording may be fit among some and not among others.
    """
    found = {index: fault for index, sound in enumerate(sounds) if (fault := _fault_of_level(sound))}
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        if index not in found:
            kinds[kind_of(utterance)].append(index)
    counts = np.array([len(phonemes) for phonemes in phonemes_of(utterances)], float)
    seconds = np.array([sound.seconds for sound in sounds])
    tempos = np.array([utterance.rate / WORDS_A_MINUTE for utterance in utterances])
    for places in kinds.values():
        for place, fault in _faults_of_length(seconds[places], counts[places], tempos[places]).items():
            found[places[place]] = fault
    return found


def _fault_of_level(sound: Sound) -> Fault | None:
    if sound.peak < _SILENT_PEAK:
        return Fault("silent", f"its loudest sample is {sound.peak:.4f} of full scale")
    if sound.clipped > _MOST_CLIPPED:
        return Fault("clipped", f"{sound.clipped:.1%} of its samples are at full scale")
    if sound.end > _MOST_AT_END:
        return Fault("cut", f"its last 10 ms are at {sound.end:.0%} of its loudest")
    if sound.uneven_db > _MOST_UNEVEN_DB:
        return Fault("uneven", f"its loudest 10 ms are {sound.uneven_db:.0f} dB above most of it")
    return None


def _faults_of_length(
    seconds: NDArray[np.float64], counts: NDArray[np.float64], tempos: NDArray[np.float64]
) -> dict[int, Fault]:
    """Return the faults of recordings of one kind: their seconds, phonemes and tempos, each [recordings]."""
    paces = seconds / (counts + _EDGE_PHONEMES)
    least = np.full(len(paces), _LEAST_SECONDS_A_PHONEME)
    most = np.full(len(paces), _MOST_SECONDS_A_PHONEME)
    if len(paces) >= _LEAST_TO_COMPARE:
        logs = np.log(np.maximum(paces * tempos, 1e-6))
        middle = np.median(logs)
        sigma = _SIGMAS_A_MAD * np.median(np.abs(logs - middle))
        reach = max(_MOST_DEVIATIONS * sigma, np.log(_LEAST_FACTOR))
        least = np.maximum(least, np.exp(middle - reach) / tempos)
        most = np.minimum(most, np.exp(middle + reach) / tempos)
    found: dict[int, Fault] = {}
    for place in np.flatnonzero((paces < least) | (paces > most)):
        short = paces[place] < least[place]
        bound = (least if short else most)[place] * (counts[place] + _EDGE_PHONEMES)
        found[int(place)] = Fault(
            "too short" if short else "too long",
            f"{counts[place]:.0f} phonemes in {seconds[place]:.2f} s, where {bound:.2f} s are the "
            f"{'least' if short else 'most'}",
        )
    return found


def faults_of_words(
    utterances: Sequence[Utterance],
    heard: Mapping[int, str],
    guard: phonetics.PhraseGuard,
    phonemize: phonetics.Phonemizer = espeak.phonemes,
) -> dict[int, Fault]:
    """Return the faults of recordings by their places, from the words that were `heard` in some of them.

    What is heard may have more around what was to be said. Whoever says something else, as a hard negative, and is
    heard to say a wake word, which the `guard` tells, has a fault too.
    """
    places = list(heard)
    said = phonemes_of([utterances[place] for place in places])
    texts = list(dict.fromkeys(heard.values()))
    sounds = dict(zip(texts, map(phonetics.normalise, phonemize(texts, _ACCENT)), strict=True))
    holds_phrase = dict(zip(texts, guard.contains(texts), strict=True))
    found: dict[int, Fault] = {}
    for place, phonemes in zip(places, said, strict=True):
        text = heard[place]
        if utterances[place].role != "positive" and holds_phrase[text]:
            found[place] = Fault("heard as the phrase", text)
        elif unheard(phonemes, sounds[text]) > MOST_UNHEARD:
            found[place] = Fault("heard otherwise", text)
    return found


def require_most(utterances: Sequence[Utterance], faults: Mapping[int, Fault]) -> None:
    """Raise DataError where an engine said more than half of the recordings of a kind wrongly.

    A hard negative that is heard as the phrase is none of the engine's faults.
    """
    totals = Counter(map(kind_of, utterances))
    dropped: dict[tuple[str, str], dict[int, Reason]] = defaultdict(dict)
    for place, fault in faults.items():
        if fault.reason != "heard as the phrase":
            dropped[kind_of(utterances[place])][place] = fault.reason
    for (engine, folder), reasons in dropped.items():
        count, total = len(reasons), totals[engine, folder]
        if count > _MOST_DROPPED * total and count >= _FEWEST_DROPPED:
            reason = Counter(reasons.values()).most_common(1)[0][0]
            first = utterances[min(reasons)]
            ipa = (first.ipa or espeak.phonemes([first.text])[0]).replace("_", "")
            unknown = ", or set synthesis.recognise to none for words that it cannot know"
            raise DataError(
                f"{engine} cannot say what it should: {count} of its {total} recordings in {folder} are not fit to "
                f"learn from, most of them since they are {reason}; listen to {first.text!r}, which is /{ipa}/ "
                f"(wakeword synth --say), say how it is pronounced in synthesis.pronunciations, or leave {engine} out "
                "of synthesis.engines" + (unknown if reason == "heard otherwise" else "")
            )


def unheard(said: str, heard: str) -> float:
    """Return which share of what was said is not heard, both as normalised phonemes: 0 to 1 where nothing is heard."""
    return phonetics.edit_cost_within(said, heard) / max(phonetics.edit_cost(said, ""), 1e-9)


def least_unheard(ways: Sequence[str], text: str, phonemize: phonetics.Phonemizer = espeak.phonemes) -> float:
    """Return which share of a phrase is not in a text that was heard, for that of the `ways` (IPA) that is most."""
    (sounds,) = phonemize([text], _ACCENT)
    return min(unheard(phonetics.normalise(way), phonetics.normalise(sounds)) for way in ways)


def phonemes_of(utterances: Sequence[Utterance]) -> list[str]:
    """Return the normalised phonemes of what each was to say."""
    texts = list(dict.fromkeys(utterance.text for utterance in utterances if utterance.ipa is None))
    known = dict(zip(texts, espeak.phonemes(texts, _ACCENT), strict=True))
    return [phonetics.normalise(utterance.ipa or known[utterance.text]) for utterance in utterances]


def set_apart(
    utterances: Sequence[Utterance], faults: Mapping[int, Fault], out: Path, parts: Parts
) -> list[dict[str, str]]:
    """Move recordings with faults below `out` to a folder of their own, with a list of the reasons; returns that.

    A page beside the folder has the list as well, and plays them.
    """
    rows = []
    for index, fault in faults.items():
        utterance = utterances[index]
        target = out / DROPPED / utterance.path
        parts.move(out / utterance.path, target)
        rows.append(
            {
                "path": target.relative_to(out).as_posix(),
                "engine": utterance.engine,
                "reason": fault.reason,
                "said": utterance.text,
                "found": fault.details,
            }
        )
    if rows:
        write_json(out / DROPPED / REASONS_FILE, rows)
        page_rows = [{name: escape(text) for name, text in row.items()} for row in rows]
        write_text(out / DROPPED_PAGE, _PAGE % "\n".join(_PAGE_ROW.format(**row) for row in page_rows))
        counts = sorted(Counter((row["engine"], row["reason"]) for row in rows).items())
        log.warning(
            "%d of %d synthetic recordings of speech are not fit to learn from and lie apart in %s/ for you to listen "
            "to: %s.",
            len(rows),
            len(utterances),
            DROPPED,
            ", ".join(f"{count} of {engine} ({reason})" for (engine, reason), count in counts),
        )
    return rows
