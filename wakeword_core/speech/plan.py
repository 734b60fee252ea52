"""The plan of a synthesis, as plain data: who says which text and how, and which background sounds are made.

Nothing here needs an engine. Every recording is a function of the seed, its role and its place in that role, so a
larger count begins with the same recordings (given the same texts).
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from wakeword_core.config import Role, Split, SynthesisConfig
from wakeword_core.files import digest
from wakeword_core.speech.background import NOISES, SCENES
from wakeword_core.speech.espeak import ACCENTS, FEMALE_VARIANTS, VARIANTS
from wakeword_core.speech.hibari import SPEAKER_FACTORS

Engine = Literal["espeak", "hibari"]
SpokenRole = Literal["positive", "hard_negative", "negative"]
SPOKEN_ROLES: tuple[SpokenRole, ...] = get_args(SpokenRole)
WORDS = "words"
"""Folder of single words, which are negatives."""

BABBLE = "babble"
SPEAKER_RULE = r"regex:(?:.*/)?\d+_(?P<speaker>[^_/]+)_[^/]*"
"""Finds the speaker in the names given here: `00012_espeak-f3_en-us.flac`."""

# General American and British make up most of what is said.
_ACCENT_TURNS = ("en-us", "en-gb", *ACCENTS)
_ENDINGS, _ENDING_SHARES = ("", ".", "!", "?"), (0.4, 0.3, 0.2, 0.1)

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
    engine: Engine
    speaker: str
    accent: str
    variant: str
    factor: float
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


def neural_can_read(text: str) -> bool:
    """Tell whether the neural voice reads all of `text`: it skips letters that are not Latin without a word."""
    plain = unicodedata.normalize("NFKD", text)
    return all(character.isascii() for character in plain if character.isalnum()) and any(map(str.isalnum, plain))


def plan(
    phrase: str,
    config: SynthesisConfig,
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
        for utterance in plan_speech(role, texts, count if texts else 0, config, seed)
    ]
    utterances += plan_speech("negative", words, config.words if words else 0, config, seed, WORDS)
    return Plan(tuple(utterances), tuple(plan_background(config, seed, sentences)))


def plan_speech(
    role: Role, texts: Sequence[str], count: int, config: SynthesisConfig, seed: int, folder: str = ""
) -> list[Utterance]:
    """Plan `count` recordings of `texts` in turn, by voices in turn, in a folder that is the role's unless given."""
    folder = folder or role
    speakers = _espeak_turns(seed)
    factors = list(_generator(seed, "factors").permutation(SPEAKER_FACTORS))
    planned: list[Utterance] = []
    neural = 0
    for index in range(count):
        generator = _generator(seed, folder, index)
        text = texts[index % len(texts)]
        # Spread evenly, and the same for every count.
        due = int((index + 1) * config.neural_share) > int(index * config.neural_share)
        if due and neural_can_read(text):
            voice: tuple[Engine, str, float] = ("hibari", "", float(factors[neural % len(factors)]))
            neural += 1
        else:
            voice = ("espeak", speakers[(index - neural) % len(speakers)], 1.0)
        planned.append(_utterance(role, f"{folder}/{index:05d}", text, voice, config, generator))
    return planned


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
    turns = generator.permutation(VARIANTS)
    talkers = []
    for number in range(int(generator.integers(*_TALKERS))):
        text = " ".join(sentences[int(generator.integers(len(sentences)))] for _ in range(_SENTENCES_A_TALKER))
        talker = _generator(seed, "talker", index, number)
        talkers.append(
            _utterance("background", f"{number:05d}", text, ("espeak", str(turns[number]), 1.0), config, talker)
        )
    return tuple(talkers)


def _utterance(
    role: Role,
    path: str,
    text: str,
    voice: tuple[Engine, str, float],
    config: SynthesisConfig,
    generator: np.random.Generator,
) -> Utterance:
    engine, variant, factor = voice
    accent = str(generator.choice(_ACCENT_TURNS)) if engine == "espeak" else "en-us"
    speaker = f"espeak-{variant}" if engine == "espeak" else f"hibari-{round(100 * factor):03d}"
    ending = str(generator.choice(_ENDINGS, p=_ENDING_SHARES)) if text[-1].isalnum() else ""
    return Utterance(
        role=role,
        path=f"{path}_{speaker}_{accent}.flac",
        text=text + ending,
        engine=engine,
        speaker=speaker,
        accent=accent,
        variant=variant,
        factor=factor,
        rate=int(generator.integers(config.rate_range[0], config.rate_range[1] + 1)),
        pitch=int(generator.integers(config.pitch_range[0], config.pitch_range[1] + 1)),
        intonation=int(generator.integers(config.intonation_range[0], config.intonation_range[1] + 1)),
        lead_seconds=_within(config.margin_seconds, generator),
        tail_seconds=_within(config.margin_seconds, generator),
        level_dbfs=_within(config.level_dbfs, generator),
        quiet_dbfs=_within(config.quiet_dbfs, generator),
        seed=int(generator.integers(2**31)),
    )


def _espeak_turns(seed: int) -> list[str]:
    """Every variant once, then the women once more: fewer of the variants are women, and each should be heard."""
    generator = _generator(seed, "speakers")
    return [str(name) for name in (*generator.permutation(VARIANTS), *generator.permutation(FEMALE_VARIANTS))]


def _within(limits: tuple[float, float], generator: np.random.Generator) -> float:
    return round(float(generator.uniform(*limits)), 3)


def _seed(*parts: object) -> int:
    return int(digest(list(parts))[:12], 16)


def _generator(*parts: object) -> np.random.Generator:
    return np.random.default_rng(_seed(*parts))
