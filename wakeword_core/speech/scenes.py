"""The plan of background sound, as plain data: kinds of scenes in turn, for every split, and more for held-out ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword_core.config import Role, Split, SynthesisConfig
from wakeword_core.seeds import generator_of, seed_of
from wakeword_core.speech.background import NOISES, SCENES
from wakeword_core.speech.engines import SPLIT_TURNS, Voice
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.utterances import Utterance, draw_utterance, within

BABBLE = "babble"

# Sound belongs to no speaker, so its split can be fixed: every split gets some, which chance would not promise. The
# numbers of kinds (7 and 6) have no factor in common with the 5 here, so every split meets every kind.
_SCENE_TURNS = tuple(kind for scene in SCENES for kind in (BABBLE, scene))
_LEAST_SCENES = 2 * len(SPLIT_TURNS)
_SCENE_SECONDS, _SHORTEST_SCENE_SECONDS = 30.0, 2.0
_HELD_OUT: tuple[Split, ...] = ("val", "test")
_TALKERS = (5, 10)
_SENTENCES_A_TALKER = 3


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
class _Part:
    """Scenes of `kinds` in turn, for `splits` in turn, which last `seconds` together."""

    role: Role
    kinds: Sequence[str]
    seconds: float
    splits: Sequence[Split]
    seed: int
    prefix: str = ""
    """Of the files' names."""


def plan_scenes(config: SynthesisConfig, seed: int, sentences: Sequence[str]) -> list[Scene]:
    """Plan background sound: half stationary noise, half babble (where there are sentences), music and clatter.

    What validation and test have besides is of the second half's kinds.
    """
    lively = _SCENE_TURNS if sentences else tuple(SCENES)
    half, held_out = config.background_minutes * 30, config.held_out_background_minutes * 60
    parts = (
        _Part("noise", tuple(NOISES), half, SPLIT_TURNS, seed),
        _Part("background", lively, half, SPLIT_TURNS, seed),
        *(_Part("background", lively, held_out, (split,), seed_of(seed, split), "more_") for split in _HELD_OUT),
    )
    return [scene for part in parts for scene in _scenes(part, config, sentences)]


def _scenes(part: _Part, config: SynthesisConfig, sentences: Sequence[str]) -> list[Scene]:
    if part.seconds == 0:
        return []
    count = max(_LEAST_SCENES, round(part.seconds / _SCENE_SECONDS))
    shares = generator_of(part.seed, part.role, "lengths").uniform(0.75, 1.25, count)
    lengths = np.maximum(part.seconds * shares / shares.sum(), _SHORTEST_SCENE_SECONDS)
    planned = []
    for index in range(count):
        generator = generator_of(part.seed, part.role, index)
        kind, split = part.kinds[index % len(part.kinds)], part.splits[index % len(part.splits)]
        planned.append(
            Scene(
                role=part.role,
                split=split,
                path=f"background/{part.role}_{split}/{part.prefix}{index:05d}_{kind}.flac",
                kind=kind,
                seconds=round(float(lengths[index]), 3),
                level_dbfs=within(config.level_dbfs, generator),
                seed=seed_of(part.seed, part.role, index),
                talkers=_talkers(config, part.seed, index, sentences, generator) if kind == BABBLE else (),
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
        talker = generator_of(seed, "talker", index, number)
        speaker = voices[str(turns[number])]
        talkers.append(draw_utterance("background", f"{number:05d}", text, EspeakEngine.name, speaker, config, talker))
    return tuple(talkers)
