"""Phrases that could be taken for a wake word, to train against: what a person would name, nearest first."""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import get_args

import numpy as np

from wakeword_core.config.synthesis import ConfusableKind
from wakeword_core.speech import espeak
from wakeword_core.speech.pronunciation.phonetics import (
    HEARD_ACCENTS,
    Phonemizer,
    PhraseGuard,
    distance,
    edit_cost,
    normalise,
)
from wakeword_core.speech.texts.sentences import vocabulary

KINDS: tuple[ConfusableKind, ...] = get_args(ConfusableKind)
_TURNS: tuple[ConfusableKind, ...] = (*KINDS, "near")
"""Whose turn it is: replaced words are most of what a wake word meets, so they get two turns."""

_ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "sh", "st", "tr", "cl")
_VOWEL_LETTERS = frozenset("aeiouy")
_SAME_ONSETS = {"c": ("k", "s"), "g": ("j",), "j": ("g",), "ph": ("f",)}
_CUTS_A_WORD = 4
_BOTH_REPLACED = 12
_LEAST_ONSET, _LEAST_LETTERS = 2, 3
"""Phonemes, or letters, that a word shares with one that begins alike; or half of its own, where that is more."""
_MADE_BY_LETTERS: tuple[ConfusableKind, ...] = ("cut", "rhyme")
"""Kinds whose texts do not come in the order of how near they are."""
_TEXTS_A_KIND = 800
"""Shared by the words of a phrase: long phrases have endless neighbours."""
_JITTER = (0.85, 1.15)
_RECORDINGS_A_TEXT = 4
_MOST_OF_A_TEXT = 8
"""Recordings after which the texts of a small kind leave their turns to the other kinds."""


@dataclass(frozen=True)
class Confusable:
    """A phrase that could be taken for another: its text, how it was made, and how near it is (0: the same)."""

    text: str
    kind: ConfusableKind
    distance: float


def confusable_phrases(
    phrase: str, count: int, seed: int, guard: PhraseGuard, phonemize: Phonemizer = espeak.phonemes
) -> list[Confusable]:
    """Return up to `count` phrases easily taken for `phrase`, the telling ones first; the same for the same seed.

    Its parts, its words in another order, the phrase broken off, rhymes of its words, and phrases with one word
    replaced by one that begins alike or by the nearest in sound, of common English words and given names; then two
    replaced. Nothing that `guard` finds a phrase in, or that is how some people say it. A longer list begins with the
    shorter one.
    """
    words = phrase.split()
    made: dict[str, ConfusableKind] = {}
    for text, kind in _candidates(words, phonemize):
        made.setdefault(text, kind)
    texts = list(made)
    kept = [text for text, contained in zip(texts, guard.contains(texts), strict=True) if not contained]
    sound, *sounds = map(normalise, phonemize([phrase, *kept], HEARD_ACCENTS[0]))
    found: dict[str, Confusable] = {}
    for text, ipa in zip(kept, sounds, strict=True):
        if ipa and not guard.is_near(ipa):
            found.setdefault(ipa, Confusable(text, made[text], round(distance(ipa, sound), 4)))
    return _in_turn(list(found.values()), seed)[:count]


def draw(confusables: Sequence[Confusable], count: int, seed: int) -> list[str]:
    """Draw `count` texts, kinds in turn, the first of a kind most often; a longer list begins with the shorter one.

    Each kind is said `_RECORDINGS_A_TEXT` times as often as it has texts so far, so that several voices say each, and
    leaves its turns to the others when each of its texts has been said `_MOST_OF_A_TEXT` times.
    """
    generator = np.random.default_rng([seed, len(_TURNS)])
    queues = {kind: [item.text for item in confusables if item.kind == kind] for kind in KINDS}
    turns = [kind for kind in _TURNS if queues[kind]]
    said = dict.fromkeys(turns, 0)
    limits = {kind: _MOST_OF_A_TEXT * len(queues[kind]) for kind in turns}
    drawn: list[str] = []
    turn = 0
    while turns and len(drawn) < count:
        kind = turns[turn % len(turns)]
        turn += 1
        if said[kind] == limits[kind]:
            if said == limits:
                limits = {kind: limit + _MOST_OF_A_TEXT * len(queues[kind]) for kind, limit in limits.items()}
            continue
        newest = said[kind] // _RECORDINGS_A_TEXT
        earlier = int(generator.integers(min(newest + 1, len(queues[kind]))))
        is_new = said[kind] % _RECORDINGS_A_TEXT == 0 and newest < len(queues[kind])
        drawn.append(queues[kind][newest if is_new else earlier])
        said[kind] += 1
    return drawn


@functools.cache
def _vocabulary_sounds(phonemize: Phonemizer) -> tuple[tuple[str, str], ...]:
    """(word, its sound) of the vocabulary."""
    words = vocabulary()
    return tuple(zip(words, map(normalise, phonemize(words, HEARD_ACCENTS[0])), strict=True))


def _candidates(words: list[str], phonemize: Phonemizer) -> Iterator[tuple[str, ConfusableKind]]:
    a_word = -(-_TEXTS_A_KIND // len(words))
    for part in _parts(words):
        yield part, "part"
    for order in _orders(words):
        yield order, "swap"
    for position in dict.fromkeys((0, len(words) - 1)):
        for piece in _cuts(words[position]):
            yield _replaced(words, position, piece), "cut"
    for position, word in enumerate(words):
        for rhyme in _rhymes(word)[:a_word]:
            yield _replaced(words, position, rhyme), "rhyme"
    sounds = [normalise(ipa) for ipa in phonemize(words, HEARD_ACCENTS[0])]
    ranked = [_ranked(sound, phonemize) for sound in sounds]
    starts = [
        [
            other
            for other, heard in near
            if _begins_alike(sound, heard, _LEAST_ONSET) or _begins_alike(word.lower(), other, _LEAST_LETTERS)
        ]
        for word, sound, near in zip(words, sounds, ranked, strict=True)
    ]
    yield from ((text, "start") for text in _by_place(words, sounds, starts, a_word))
    nearest = [[word for word, _ in near] for near in ranked]
    yield from ((text, "near") for text in _by_place(words, sounds, nearest, a_word))
    for position in range(min(len(words) - 1, _BOTH_REPLACED)):
        for pair in product(nearest[position][:_BOTH_REPLACED], nearest[position + 1][:_BOTH_REPLACED]):
            yield " ".join([*words[:position], *pair, *words[position + 2 :]]), "near"


def _replaced(words: list[str], position: int, word: str) -> str:
    return " ".join([*words[:position], word, *words[position + 1 :]])


def _parts(words: list[str]) -> Iterator[str]:
    """What the phrase begins and ends with, the longest first, and each word alone."""
    for length in range(len(words) - 1, 0, -1):
        yield " ".join(words[:length])
        yield " ".join(words[-length:])
    if len(words) > 1:
        yield from words


def _orders(words: list[str]) -> Iterator[str]:
    """The words turned round, backwards, and with two neighbours exchanged."""
    for shift in range(1, len(words)):
        yield " ".join([*words[shift:], *words[:shift]])
    yield " ".join(words[::-1])
    for position in range(len(words) - 1):
        yield " ".join([*words[:position], words[position + 1], words[position], *words[position + 2 :]])


def _cuts(word: str) -> list[str]:
    """A word broken off and a word begun late; pieces that can be read as a word, not spelled out."""
    pieces = [word[:length] for length in range(len(word) - 1, 1, -1)][:_CUTS_A_WORD]
    pieces += [word[start:] for start in range(1, len(word) - 1)][:_CUTS_A_WORD]
    return [piece for piece in pieces if _VOWEL_LETTERS & set(piece.lower()) and piece.isalpha()]


def _rhymes(word: str) -> list[str]:
    """The word with other first consonants, where it is spelled in plain letters."""
    match = re.fullmatch(r"([bcdfghjklmnpqrstvwxz]*)([aeiouy][a-z]*)", word.lower())
    if match is None:
        return []
    same = (match[1], *_SAME_ONSETS.get(match[1], ()))
    return [onset + match[2] for onset in _ONSETS if onset not in same]


@functools.lru_cache(16)
def _ranked(sound: str, phonemize: Phonemizer) -> tuple[tuple[str, str], ...]:
    """(word, its sound) of the vocabulary, nearest to a word's sound first, without its homophones."""
    others = [(word, other) for word, other in _vocabulary_sounds(phonemize) if other and other != sound]
    return tuple(sorted(others, key=lambda one: edit_cost(one[1], sound)))


def _begins_alike(one: str, other: str, least: int) -> bool:
    shared = max(least, len(one) // 2)
    return len(one) >= shared and other.startswith(one[:shared])


def _by_place(words: list[str], sounds: list[str], ranked: Sequence[Sequence[str]], most: int) -> Iterable[str]:
    """The phrase with one word replaced: each place in turn, and the longer its word is, the more often."""
    turns = sorted(
        ((rank + 1) / max(1, len(sounds[position])), position, word)
        for position, candidates in enumerate(ranked)
        for rank, word in enumerate(candidates[:most])
    )
    return (_replaced(words, position, word) for _, position, word in turns)


def _in_turn(confusables: list[Confusable], seed: int) -> list[Confusable]:
    """Kinds in turn, each in order but for a little chance, so that seeds differ."""
    generator = np.random.default_rng([seed, len(confusables)])
    queues: list[list[Confusable]] = []
    for kind in KINDS:
        items = [item for item in confusables if item.kind == kind]
        if kind in _MADE_BY_LETTERS:
            items.sort(key=lambda item: item.distance)
        places = np.arange(1, len(items) + 1) * generator.uniform(*_JITTER, len(items))
        queues.append([items[i] for i in np.argsort(places, kind="stable")])
    return [queue[rank] for rank in range(max(map(len, queues), default=0)) for queue in queues if rank < len(queue)]
