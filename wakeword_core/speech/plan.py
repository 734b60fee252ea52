"""The plan of a synthesis, as plain data: who says which text and how, and which background sounds are made.

Engines are asked who can speak, and say nothing yet. Every recording is a function of the seed, its role and its place
in that role, so a larger count begins with the same recordings (given the same texts).
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from wakeword_core.config import Role, Split, SynthesisConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.files import digest
from wakeword_core.speech.background import NOISES, SCENES
from wakeword_core.speech.engines import Engine, Sex, Voice, of_languages
from wakeword_core.speech.engines.espeak import EspeakEngine

SpokenRole = Literal["positive", "hard_negative", "negative"]
SPOKEN_ROLES: tuple[SpokenRole, ...] = get_args(SpokenRole)
WORDS = "words"
"""Folder of single words, which are negatives."""

BABBLE = "babble"
SPEAKER_RULE = r"regex:(?:.*/)?\d+_(?P<speaker>[^_/]+)_[^/]*"
"""Finds the speaker in the names given here: `00012_espeak-f3_en-us.flac`."""

_ENDINGS, _ENDING_SHARES = ("", ".", "!", "?"), (0.4, 0.3, 0.2, 0.1)

_TURN_SEEDS = {"espeak": "speakers", "hibari": "factors"}
"""What the order of an engine's speakers is drawn by, where it is not the engine's name."""
_RARE_SEX = 0.5
"""Speakers of a sex that has less than this share of the other's number have two turns for one."""

# Sound belongs to no speaker, so its split can be fixed: every split gets some, which chance would not promise. The
# numbers of kinds (7 and 6) have no factor in common with the 5 here, so every split meets every kind.
_SPLIT_TURNS: tuple[Split, ...] = ("train", "test", "val", "train", "train")
_SCENE_TURNS = tuple(kind for scene in SCENES for kind in (BABBLE, scene))
_LEAST_SCENES = 2 * len(_SPLIT_TURNS)
_SCENE_SECONDS, _SHORTEST_SCENE_SECONDS = 30.0, 2.0
_TALKERS = (5, 10)
_SENTENCES_A_TALKER = 3


@dataclass(frozen=True)
class Utterance:
    """One recording of speech: everything its bytes depend on, and its path relative to the output folder."""

    role: Role
    path: str
    text: str
    ipa: str | None
    """How it is pronounced, where that is not left to the engine."""
    engine: str
    speaker: str
    voice: str
    """Of the engine's voices."""
    rate: int
    pitch: int
    intonation: int
    lead_seconds: float
    tail_seconds: float
    level_dbfs: float
    quiet_dbfs: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """One recording of background sound; `talkers` speak in a babble."""

    role: Role
    split: Split
    path: str
    kind: str
    seconds: float
    level_dbfs: float
    seed: int
    talkers: tuple[Utterance, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that will be written, in order."""

    utterances: tuple[Utterance, ...]
    scenes: tuple[Scene, ...]


class Cast:
    """Who speaks: engines with their shares of recordings, and the speakers of each in turn."""

    def __init__(self, engines: Mapping[str, Engine], config: SynthesisConfig, seed: int) -> None:
        """Take `engines` by name, each of which has a share; ConfigError where one has no voice that may speak."""
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
            self._turns[name] = _Turns(voices, _generator(seed, _TURN_SEEDS.get(name, name)))
            for voice in voices:
                self._voices.setdefault((name, voice.speaker), []).append(voice)

    def voices(self, engine: str) -> list[Voice]:
        """Return the voices of an engine that may speak."""
        return [voice for (name, _), voices in self._voices.items() if name == engine for voice in voices]

    def turns(self, texts: Iterator[str]) -> Iterator[tuple[str, list[Voice]]]:
        """Yield for each text the engine that says it, and the voices of the speaker whose turn it is there."""
        spoken: Counter[str] = Counter()
        for engine, text in zip(_shared_out(self.shares), texts, strict=False):
            chosen = engine if self.engines[engine].can_say(text) else self._reader(text)
            yield chosen, self._voices[chosen, self._turns[chosen].speaker(spoken[chosen])]
            spoken[chosen] += 1

    def _reader(self, text: str) -> str:
        """Return the engine with the largest share of those that read a text; DataError where none does."""
        for name in sorted(self.shares, key=lambda name: -self.shares[name]):
            if self.engines[name].can_say(text):
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
        held = [split for split in _SPLIT_TURNS if split in parts]
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


def plan(
    phrase: str,
    config: SynthesisConfig,
    cast: Cast,
    seed: int,
    confusables: Sequence[str],
    sentences: Sequence[str],
    words: Sequence[str] = (),
) -> Plan:
    """Lay out every recording: positives of `phrase`, hard negatives of `confusables`, negatives of the others.

    Texts are used in turn. Each role goes through the same voices in the same order, so that every split that has a
    voice's positives has its negatives too; with at least as many recordings as voices, each voice speaks.
    """
    spoken: tuple[tuple[SpokenRole, int, Sequence[str]], ...] = (
        ("positive", config.positives, [phrase]),
        ("hard_negative", config.hard_negatives, confusables),
        ("negative", config.negatives, sentences),
    )
    utterances = [
        utterance
        for role, count, texts in spoken
        for utterance in plan_speech(role, texts, count if texts else 0, config, cast, seed)
    ]
    utterances += plan_speech("negative", words, config.words if words else 0, config, cast, seed, WORDS)
    return Plan(tuple(utterances), tuple(plan_background(config, seed, sentences)))


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
    return [
        _utterance(role, f"{folder}/{index:05d}", text, engine, voices, config, _generator(seed, folder, index))
        for index, (text, (engine, voices)) in enumerate(zip(said, cast.turns(iter(said)), strict=True))
    ]


def plan_background(config: SynthesisConfig, seed: int, sentences: Sequence[str]) -> list[Scene]:
    """Plan background sound: half stationary noise, half babble (where there are sentences), music and clatter."""
    if config.background_minutes == 0:
        return []
    seconds_a_role = config.background_minutes * 30
    count = max(_LEAST_SCENES, round(seconds_a_role / _SCENE_SECONDS))
    planned: list[Scene] = []
    roles: tuple[tuple[Role, Sequence[str]], ...] = (
        ("noise", tuple(NOISES)),
        ("background", _SCENE_TURNS if sentences else tuple(SCENES)),
    )
    for role, kinds in roles:
        shares = _generator(seed, role, "lengths").uniform(0.75, 1.25, count)
        lengths = np.maximum(seconds_a_role * shares / shares.sum(), _SHORTEST_SCENE_SECONDS)
        for index in range(count):
            generator = _generator(seed, role, index)
            kind, split = kinds[index % len(kinds)], _SPLIT_TURNS[index % len(_SPLIT_TURNS)]
            planned.append(
                Scene(
                    role=role,
                    split=split,
                    path=f"background/{role}_{split}/{index:05d}_{kind}.flac",
                    kind=kind,
                    seconds=round(float(lengths[index]), 3),
                    level_dbfs=_within(config.level_dbfs, generator),
                    seed=_seed(seed, role, index),
                    talkers=_talkers(config, seed, index, sentences, generator) if kind == BABBLE else (),
                )
            )
    return planned


def _talkers(
    config: SynthesisConfig, seed: int, index: int, sentences: Sequence[str], generator: np.random.Generator
) -> tuple[Utterance, ...]:
    """Voices of espeak, which are made in no time, talk in a babble."""
    voices: dict[str, list[Voice]] = {}
    for voice in EspeakEngine().voices():
        voices.setdefault(voice.speaker, []).append(voice)
    turns = generator.permutation(list(voices))
    talkers = []
    for number in range(int(generator.integers(*_TALKERS))):
        text = " ".join(sentences[int(generator.integers(len(sentences)))] for _ in range(_SENTENCES_A_TALKER))
        talker = _generator(seed, "talker", index, number)
        speaker = voices[str(turns[number])]
        talkers.append(_utterance("background", f"{number:05d}", text, EspeakEngine.name, speaker, config, talker))
    return tuple(talkers)


def _utterance(
    role: Role,
    path: str,
    text: str,
    engine: str,
    voices: Sequence[Voice],
    config: SynthesisConfig,
    generator: np.random.Generator,
) -> Utterance:
    voice = voices[int(generator.integers(len(voices)))] if len(voices) > 1 else voices[0]
    speaker = f"{engine}-{voice.speaker}"
    ending = str(generator.choice(_ENDINGS, p=_ENDING_SHARES)) if text[-1].isalnum() else ""
    return Utterance(
        role=role,
        path=f"{path}_{speaker}_{voice.language}.flac",
        text=text + ending,
        ipa=None,
        engine=engine,
        speaker=speaker,
        voice=voice.name,
        rate=int(generator.integers(config.rate_range[0], config.rate_range[1] + 1)),
        pitch=int(generator.integers(config.pitch_range[0], config.pitch_range[1] + 1)),
        intonation=int(generator.integers(config.intonation_range[0], config.intonation_range[1] + 1)),
        lead_seconds=_within(config.margin_seconds, generator),
        tail_seconds=_within(config.margin_seconds, generator),
        level_dbfs=_within(config.level_dbfs, generator),
        quiet_dbfs=_within(config.quiet_dbfs, generator),
        seed=int(generator.integers(2**31)),
    )


def _within(limits: tuple[float, float], generator: np.random.Generator) -> float:
    return round(float(generator.uniform(*limits)), 3)


def _seed(*parts: object) -> int:
    return int(digest(list(parts))[:12], 16)


def _generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(_seed(*parts))
