"""The plan of a synthesis, as plain data: who says which text and how, and which background sounds are made.

Engines are asked who can speak, and say nothing yet. Every recording is a function of the seed, its role and its place
in that role, so a larger count begins with the same recordings (given the same texts).
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from wakeword_core.config import Role, Split, SynthesisConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.seeds import generator_of
from wakeword_core.speech.cutting import Cut
from wakeword_core.speech.delivery import Delivery
from wakeword_core.speech.engines import SPLIT_TURNS, Engine, Sex, Voice, of_languages
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard
from wakeword_core.speech.scenes import Scene, plan_scenes
from wakeword_core.speech.utterances import Utterance, draw_utterance, within

SpokenRole = Literal["positive", "hard_negative", "negative"]
SPOKEN_ROLES: tuple[SpokenRole, ...] = get_args(SpokenRole)
WORDS, PIECES = "words", "pieces"
"""Folders of single words, which are negatives, and of pieces of the wake word."""
CARRIERS = "carriers"
"""Folder of the folders whose recordings have other speech around."""

SPEAKER_RULE = r"regex:(?:.*/)?\d+_(?P<speaker>[^_/]+)_[^/]*"
"""Finds the speaker in the names given here: `00012_espeak-f3_en-us.flac`."""

_NAME = re.compile(r"[A-Za-z0-9.-]+")

_BEFORE_SECONDS, _AFTER_SECONDS = (0.6, 1.6), (0.5, 2.5)
"""How long other speech may last around what is said; it is cut there, and quiet is where it is shorter."""
_BEFORE_GAP, _AFTER_GAP = (0.02, 0.25), (0.0, 0.3)
_SIDES = ("after", "before", "both")
_SIDE_SHARES = (0.5, 0.2, 0.3)
"""A request after the wake word is what it is for."""

_TURN_SEEDS = {"espeak": "speakers", "hibari": "factors"}
"""What the order of an engine's speakers is drawn by, where it is not the engine's name."""
_RARE_SEX = 0.5
"""Speakers of a sex that has less than this share of the other's number have two turns for one."""


@dataclass(frozen=True)
class Around:
    """What may be said before and after a wake word, and who tells that no wake word comes of it."""

    before: Sequence[str]
    after: Sequence[str]
    guard: PhraseGuard


@dataclass(frozen=True)
class Said:
    """What is said in the recordings of one folder: texts in turn."""

    folder: str
    role: SpokenRole
    texts: Sequence[str]
    count: int
    label: str = ""
    """Of positives."""
    cut: bool = False
    """Whether only a piece of each is kept."""
    around: Around | None = None
    """What may be around a share of them."""


@dataclass(frozen=True)
class Plan:
    """Everything that will be written, in order."""

    utterances: tuple[Utterance, ...]
    scenes: tuple[Scene, ...]


class Cast:
    """Who speaks: engines with their shares of recordings, and the speakers of each in turn."""

    def __init__(
        self, engines: Mapping[str, Engine], config: SynthesisConfig, seed: int, delivery: Delivery | None = None
    ) -> None:
        """Take `engines` by name, each of which has a share; ConfigError where one has no voice that may speak.

        Without a `delivery`, engines read texts by themselves.
        """
        self.delivery = delivery or Delivery((), Pronunciations(), SynthesisConfig(), seed)
        total = sum(config.engines[name] for name in engines)
        self.shares = {name: config.engines[name] / total for name in engines}
        self.engines = engines
        self._turns: dict[str, _Turns] = {}
        self._voices: dict[tuple[str, str], list[Voice]] = {}
        for name, engine in engines.items():
            voices = of_languages(engine.voices(), config.languages)
            if not voices:
                raise ConfigError(
                    f"synthesis.languages is {', '.join(config.languages) or 'empty'}, but the engine {name} has no "
                    "voice of these; add its languages, or leave it out of synthesis.engines"
                )
            for voice in voices:
                if not (_NAME.fullmatch(voice.speaker) and _NAME.fullmatch(voice.language)):
                    raise ConfigError(
                        f"the engine {name} has a voice {voice.name!r} whose speaker {voice.speaker!r} or language "
                        f"{voice.language!r} is not of letters, digits, dots and hyphens, as they stand in names of "
                        "files; mend it, or leave it out of synthesis.engines"
                    )
            self._turns[name] = _Turns(voices, generator_of(seed, _TURN_SEEDS.get(name, name)))
            for voice in voices:
                self._voices.setdefault((name, voice.speaker), []).append(voice)

    def voices(self, engine: str) -> list[Voice]:
        """Return the voices of an engine that may speak."""
        return [voice for (name, _), voices in self._voices.items() if name == engine for voice in voices]

    def turns(self, texts: Iterator[str]) -> Iterator[tuple[str, list[Voice]]]:
        """Yield for each text the engine that says it, and the voices of the speaker whose turn it is there."""
        spoken: Counter[str] = Counter()
        for engine, text in zip(_shared_out(self.shares), texts, strict=False):
            chosen = engine if self.delivery.can_say(self.engines[engine], text) else self._reader(text)
            yield chosen, self._voices[chosen, self._turns[chosen].speaker(spoken[chosen])]
            spoken[chosen] += 1

    def _reader(self, text: str) -> str:
        """Return the engine with the largest share of those that read a text; DataError where none does."""
        for name in sorted(self.shares, key=lambda name: -self.shares[name]):
            if self.delivery.can_say(self.engines[name], text):
                return name
        raise DataError(
            f"none of the engines {', '.join(self.engines)} can read {text!r}; add espeak to synthesis.engines, or "
            "write it as it sounds, in English letters"
        )


class _Turns:
    """Every speaker once, and those of a rare sex once more; splits take turns, where voices are held in some."""

    def __init__(self, voices: Sequence[Voice], generator: np.random.Generator) -> None:
        parts: dict[Split | None, dict[str, Voice]] = {}
        for voice in voices:
            parts.setdefault(voice.split, {}).setdefault(voice.speaker, voice)
        self._orders = {split: _in_turn(speakers, generator) for split, speakers in parts.items()}
        held = [split for split in SPLIT_TURNS if split in parts]
        self._splits: list[Split | None] = [*held, None] if None in parts else [*held]

    def speaker(self, number: int) -> str:
        """Return who speaks in the recording of that number by the engine, from 0."""
        rounds, place = divmod(number, len(self._splits))
        split = self._splits[place]
        turn = rounds * self._splits.count(split) + self._splits[:place].count(split)
        return self._orders[split][turn % len(self._orders[split])]


def _in_turn(speakers: Mapping[str, Voice], generator: np.random.Generator) -> list[str]:
    order = [str(name) for name in generator.permutation(list(speakers))]
    counts = Counter(voice.sex for voice in speakers.values())
    sexes: tuple[tuple[Sex, Sex], ...] = (("female", "male"), ("male", "female"))
    for sex, other in sexes:
        if 0 < counts[sex] < _RARE_SEX * counts[other]:
            rare = [name for name, voice in speakers.items() if voice.sex == sex]
            order += [str(name) for name in generator.permutation(rare)]
    return order


def _shared_out(shares: Mapping[str, float]) -> Iterator[str]:
    """Yield engines for ever: the one with the largest share, unless a whole turn is owed to another."""
    main = max(shares, key=lambda name: shares[name])
    owed = {name: 0 for name in shares if name != main}
    for index in itertools.count():
        for name in owed:
            owed[name] += int((index + 1) * shares[name]) - int(index * shares[name])
        chosen = max(owed, key=lambda name: owed[name], default=main)
        if owed.get(chosen, 0):
            owed[chosen] -= 1
            yield chosen
        else:
            yield main


def plan(script: Sequence[Said], config: SynthesisConfig, cast: Cast, seed: int, sentences: Sequence[str]) -> Plan:
    """Lay out every recording: what the script says, and background, in which `sentences` are babbled.

    Each folder goes through the same voices in the same order, so that every split that has a voice's positives has
    its negatives too; with at least as many recordings as voices, each voice speaks.
    """
    utterances: list[Utterance] = []
    for said in script:
        planned = plan_speech(said.role, said.texts, said.count if said.texts else 0, config, cast, seed, said.folder)
        if said.cut:
            planned = [_cut(utterance, config, seed) for utterance in planned]
        if said.around:
            planned = _carried(planned, said.around, config.carrier_share, seed)
        utterances += planned
    return Plan(tuple(utterances), tuple(plan_scenes(config, seed, sentences)))


def _cut(utterance: Utterance, config: SynthesisConfig, seed: int) -> Utterance:
    """Keep a piece of it: as often the beginning as the end."""
    generator = generator_of(seed, "cut", utterance.path)
    side: Literal["beginning", "end"] = "beginning" if generator.integers(2) else "end"
    return replace(utterance, cut=Cut(side, within(config.piece_range, generator), *config.piece_range))


def _carried(utterances: Sequence[Utterance], around: Around, share: float, seed: int) -> list[Utterance]:
    """Put other speech around a share of utterances, where no wake word comes of it but those that are positives."""
    carried = [_in_carrier(utterance, around, share, seed) for utterance in utterances]
    texts = [f"{item.before} {item.text} {item.after}" for item in carried]
    wrong = [
        item.role != "positive" and refused for item, refused in zip(carried, around.guard.contains(texts), strict=True)
    ]
    return [plain if refused else item for plain, item, refused in zip(utterances, carried, wrong, strict=True)]


def _in_carrier(utterance: Utterance, around: Around, share: float, seed: int) -> Utterance:
    generator = generator_of(seed, CARRIERS, utterance.path)
    if generator.random() >= share:
        return utterance
    side = str(generator.choice(_SIDES, p=_SIDE_SHARES))
    before, after = (texts[int(generator.integers(len(texts)))] for texts in (around.before, around.after))
    before_seconds, after_seconds = within(_BEFORE_SECONDS, generator), within(_AFTER_SECONDS, generator)
    before_gap, after_gap = within(_BEFORE_GAP, generator), within(_AFTER_GAP, generator)
    carried = replace(utterance, path=f"{CARRIERS}/{utterance.path}")
    if side != "after":
        lead = round(utterance.lead_seconds + before_seconds, 3)
        carried = replace(carried, before=before, before_gap=before_gap, lead_seconds=lead)
    if side != "before":
        tail = round(utterance.tail_seconds + after_seconds, 3)
        carried = replace(carried, after=after, after_gap=after_gap, tail_seconds=tail)
    return carried


def plan_speech(
    role: Role,
    texts: Sequence[str],
    count: int,
    config: SynthesisConfig,
    cast: Cast,
    seed: int,
    folder: str = "",
) -> list[Utterance]:
    """Plan `count` recordings of `texts` in turn, by voices in turn, in a folder that is the role's unless given."""
    folder = folder or role
    said = [texts[index % len(texts)] for index in range(count)]
    planned = []
    for index, (text, (engine, voices)) in enumerate(zip(said, cast.turns(iter(said)), strict=True)):
        generator = generator_of(seed, folder, index)
        item = draw_utterance(role, f"{folder}/{index:05d}", text, engine, voices, config, generator)
        language = next(voice.language for voice in voices if voice.name == item.voice)
        ipa = cast.delivery.ipa(text, cast.engines[engine], language, (folder, index))
        planned.append(replace(item, ipa=ipa, manner=cast.delivery.manner((folder, index))))
    return planned
