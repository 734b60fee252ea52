"""Phonemes of phrases, how far apart they sound, and confusable phrases to train against."""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate, islice, permutations, product
from typing import Literal, get_args

import numpy as np

from wakeword_core.errors import DataError
from wakeword_core.speech import espeak

Phonemizer = Callable[[Sequence[str], str], list[str]]
"""IPA of texts in an accent, phonemes separated by `_` and words by spaces: `espeak.phonemes` or a stand-in."""

Kind = Literal["part", "swap", "cut", "rhyme", "near"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# One American and one British accent: words that are homophones in either must not become negatives.
_ACCENTS = ("en-us", "en-gb-x-rp")
_IGNORED = re.compile(r"\([a-z-]+\)|[ˈˌːˑ.‖|_\s\u0300-\u036f\u200d]")
_MERGED = {"ɾ": "t", "ʔ": "t", "ɐ": "ə", "ᵻ": "ɪ", "ɚ": "əɹ", "ɝ": "ɜɹ", "ɫ": "l", "r": "ɹ", "ɡ": "g"}
_MERGE = str.maketrans(_MERGED)

# Height (0 open to 3 close), backness (0 to 2), rounding.
_VOWELS: dict[str, tuple[float, float, float]] = {
    "i": (3, 0, 0), "ɪ": (2.5, 0.4, 0), "e": (2, 0, 0), "ɛ": (1, 0, 0), "æ": (0.5, 0, 0), "a": (0, 0.5, 0),
    "ɑ": (0, 2, 0), "ɒ": (0, 2, 1), "ɔ": (1, 2, 1), "o": (2, 2, 1), "ʊ": (2.5, 1.6, 1), "u": (3, 2, 1),
    "ʉ": (3, 1, 1), "ʌ": (1, 1.6, 0), "ə": (1.5, 1, 0), "ɜ": (1, 1, 0), "y": (3, 0, 1), "ø": (2, 0, 1),
}  # fmt: skip
# Place (lips 0 to glottis 6), manner (stop 0, nasal 1, fricative 2, liquid 3, glide 4), voice.
_CONSONANTS: dict[str, tuple[float, float, float]] = {
    "p": (0, 0, 0), "b": (0, 0, 1), "m": (0, 1, 1), "f": (0.5, 2, 0), "v": (0.5, 2, 1), "θ": (1, 2, 0),
    "ð": (1, 2, 1), "t": (2, 0, 0), "d": (2, 0, 1), "n": (2, 1, 1), "s": (2, 2, 0), "z": (2, 2, 1),
    "l": (2, 3, 1), "ɹ": (2.5, 3, 1), "ʃ": (3, 2, 0), "ʒ": (3, 2, 1), "j": (4, 4, 1), "ç": (4, 2, 0),
    "k": (5, 0, 0), "g": (5, 0, 1), "ŋ": (5, 1, 1), "x": (5, 2, 0), "w": (2.5, 4, 1), "h": (6, 2, 0),
}  # fmt: skip
_WEAK = frozenset("əhɪ")
_WEAK_GAP, _GAP = 0.5, 0.8
_SAME_CLASS_BASE = 0.1
_VOWEL_GLIDE = {("i", "j"): 0.3, ("ɪ", "j"): 0.4, ("u", "w"): 0.3, ("ʊ", "w"): 0.4, ("ɜ", "ɹ"): 0.4, ("ə", "ɹ"): 0.5}

_ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "sh", "st", "tr", "cl")
_VOWEL_LETTERS = frozenset("aeiouy")
_SAME_ONSETS = {"c": ("k", "s"), "g": ("j",), "j": ("g",), "ph": ("f",)}
_TOO_NEAR = 0.45
"""Cheaper than this, "robbing" for "robin" or "wobin", is how some people say the phrase itself."""
_CUTS_A_WORD = 4
_LIGATURE = 3
"""Most phonemes of a ligature."""
_BOTH_REPLACED = 12


@dataclass(frozen=True)
class Confusable:
    """A phrase that could be taken for another: its text, how it was made, and how near it is (0: the same)."""

    text: str
    kind: Kind
    distance: float


def normalise(ipa: str) -> str:
    """Return IPA without stress, length and separators, allophones merged: equal for homophones, and searchable."""
    return _IGNORED.sub("", ipa).translate(_MERGE)


def unread_letters(text: str, phonemize: Phonemizer = espeak.phonemes) -> list[str]:
    """Return the letters and digits of a text that the English voices leave out, or say the names of, in order.

    Some scripts, such as Hangul and Devanagari, are read all the same: the voices change to another language for them.
    """
    words = [word for word in text.split() if not word.isascii()]
    letters = list(dict.fromkeys(letter for word in words for letter in word if _is_foreign(letter)))
    if not letters:
        return []
    names = dict(zip(letters, phonemize(letters, _ACCENTS[0]), strict=True))
    read = {word: normalise(ipa) for word, ipa in zip(words, phonemize(words, _ACCENTS[0]), strict=True)}
    return [
        letter
        for letter in letters
        if any(letter in word and _is_unread(letter, names[letter], read[word]) for word in words)
    ]


def _is_foreign(letter: str) -> bool:
    return letter.isalnum() and not letter.isascii() and unicodedata.category(letter) != "Lm"


def _is_unread(letter: str, named: str, read: str) -> bool:
    """Tell whether a letter, or digit, called `named` is left out of a word that is `read` so, or only named there."""
    own, switched, _ = named.partition("(")  # as "(ko)", where the voice changes to another language
    name = normalise(own)
    if not name:
        return not switched
    # a ligature such as œ is read like its name
    is_latin = unicodedata.name(letter, "").startswith("LATIN")
    return letter.isalpha() and name in read and len(name) > (_LIGATURE if is_latin else 0)


@functools.cache
def substitution_cost(first: str, second: str) -> float:
    """Return how unlike two phonemes (single IPA letters) sound, from 0 (the same) to 1."""
    if first == second:
        return 0.0
    if first in _VOWELS and second in _VOWELS:
        height, back, rounded = (abs(a - b) for a, b in zip(_VOWELS[first], _VOWELS[second], strict=True))
        return min(1.0, _SAME_CLASS_BASE + 0.2 * height + 0.15 * back + 0.1 * rounded)
    if first in _CONSONANTS and second in _CONSONANTS:
        place, manner, voice = (abs(a - b) for a, b in zip(_CONSONANTS[first], _CONSONANTS[second], strict=True))
        return min(1.0, _SAME_CLASS_BASE + 0.1 * place + 0.2 * manner + 0.15 * voice)
    return _VOWEL_GLIDE.get((first, second), _VOWEL_GLIDE.get((second, first), 1.0))


def edit_cost(first: str, second: str) -> float:
    """Return the weighted edit distance of normalised phoneme strings; a plainly different phoneme costs about 0.8."""
    previous = [0.0, *accumulate(map(_gap, second))]
    for phoneme in first:
        gap = _gap(phoneme)
        current = [previous[0] + gap]
        for column, other in enumerate(second, 1):
            replaced = previous[column - 1] + substitution_cost(phoneme, other)
            current.append(min(previous[column] + gap, current[-1] + _gap(other), replaced))
        previous = current
    return previous[-1]


def distance(first: str, second: str) -> float:
    """Return `edit_cost` divided by the longer string's length: 0 for the same sounds to about 1."""
    return edit_cost(first, second) / max(len(first), len(second), 1)


class PhraseGuard:
    """Tells which texts contain a phrase, by spelling or by sound, in American or British English."""

    def __init__(self, phrase: str, phonemize: Phonemizer = espeak.phonemes) -> None:
        self._phonemize = phonemize
        self._words = _spelling(phrase)
        self._sounds = {accent: normalise(phonemize([phrase], accent)[0]) for accent in _ACCENTS}
        if not all(self._sounds.values()):
            raise DataError(f"the phrase {phrase!r} gives no sound; use a phrase with words in it")

    def contains(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether the phrase, or something that sounds the same, is in it."""
        if not texts:
            return []
        contained = np.array([f" {self._words} " in f" {_spelling(text)} " for text in texts])
        for accent, sound in self._sounds.items():
            # As one breath, and word by word: words change their vowels in context.
            isolated = self._isolated(texts, accent)
            spoken = self._phonemize(texts, accent)
            contained |= [sound in normalise(ipa) for ipa in spoken]
            contained |= [sound in ipa for ipa in isolated]
        return [bool(flag) for flag in contained]

    def _isolated(self, texts: Sequence[str], accent: str) -> list[str]:
        vocabulary = sorted({word for text in texts for word in text.split()})
        sounds = dict(zip(vocabulary, map(normalise, self._phonemize(vocabulary, accent)), strict=True))
        return ["".join(sounds[word] for word in text.split()) for text in texts]


def confusable_phrases(phrase: str, count: int, seed: int, phonemize: Phonemizer = espeak.phonemes) -> list[Confusable]:
    """Return up to `count` phrases easily taken for `phrase`, the telling ones first; the same for the same seed.

    Its parts, its words in another order, the phrase broken off, rhymes of its words, and phrases with one word (then
    two) replaced by the nearest in sound of a list of common English words and names. Never the phrase itself, nor a
    homophone or near-homophone, nor anything that contains it. DataError when the phrase gives no sound.
    """
    guard = PhraseGuard(phrase, phonemize)
    sound = normalise(phonemize([phrase], _ACCENTS[0])[0])
    words = phrase.split()
    made: dict[str, Kind] = {}
    # enough that `count` can be chosen after some are refused; long phrases have endless permutations
    whole = islice(_whole(words), 4 * count + 64)
    near = _near(words, count, phonemize)
    for text, kind in (*whole, *near):
        made.setdefault(text, kind)
    texts = list(made)
    kept = [text for text, contained in zip(texts, guard.contains(texts), strict=True) if not contained]
    sounds = [normalise(ipa) for ipa in phonemize(kept, _ACCENTS[0])]
    confusables: dict[str, Confusable] = {}
    for text, ipa in zip(kept, sounds, strict=True):
        if ipa and edit_cost(ipa, sound) >= _TOO_NEAR:
            confusables.setdefault(ipa, Confusable(text, made[text], round(distance(ipa, sound), 4)))
    return _chosen(list(confusables.values()), count, seed)


def draw(confusables: Sequence[Confusable], count: int, generator: np.random.Generator) -> list[str]:
    """Draw `count` texts: each kind in turn as far as there is one, and within it every text about equally often."""
    kinds = [[item.text for item in confusables if item.kind == kind] for kind in KINDS]
    # Replaced words are most of what a wake word meets, so they get two turns in six.
    turns = [list(generator.permutation(texts)) for texts in (*kinds, kinds[-1]) if texts]
    return [
        str(turns[i % len(turns)][i // len(turns) % len(turns[i % len(turns)])]) for i in range(count if turns else 0)
    ]


def common_words() -> list[str]:
    """Read the shipped list of common English words and names."""
    return (resources.files(__package__) / "words.txt").read_text(encoding="utf-8").split()


def _gap(phoneme: str) -> float:
    return _WEAK_GAP if phoneme in _WEAK else _GAP


def _spelling(text: str) -> str:
    return " ".join(re.sub(r"[^\w' ]+", " ", text.lower()).split())


def _whole(words: list[str]) -> Iterator[tuple[str, Kind]]:
    for length in range(len(words) - 1, 0, -1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length]), "part"
    for position, word in enumerate(words):
        for piece in _cuts(word):
            if position in (0, len(words) - 1):
                yield " ".join([*words[:position], piece, *words[position + 1 :]]), "cut"
    for position, word in enumerate(words):
        for rhyme in _rhymes(word):
            yield " ".join([*words[:position], rhyme, *words[position + 1 :]]), "rhyme"
    for order in permutations(words):
        yield " ".join(order), "swap"


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


def _near(words: list[str], count: int, phonemize: Phonemizer) -> Iterator[tuple[str, Kind]]:
    """The phrase with one word replaced, nearest first and each place in turn, then with two neighbours replaced."""
    vocabulary = common_words()
    sounds = [normalise(ipa) for ipa in phonemize(vocabulary, _ACCENTS[0])]
    places = [normalise(ipa) for ipa in phonemize(words, _ACCENTS[0])]
    ranked: list[list[str]] = []
    for place in places:
        distances = [distance(place, sound) for sound in sounds]
        order = np.argsort(distances, kind="stable")
        ranked.append([vocabulary[i] for i in order if sounds[i] != place])
    for rank in range(min(len(vocabulary), count + 32)):
        for position, candidates in enumerate(ranked):
            if rank < len(candidates):
                yield " ".join([*words[:position], candidates[rank], *words[position + 1 :]]), "near"
    for position in range(len(words) - 1):
        for first, second in product(ranked[position][:_BOTH_REPLACED], ranked[position + 1][:_BOTH_REPLACED]):
            yield " ".join([*words[:position], first, second, *words[position + 2 :]]), "near"


def _chosen(confusables: list[Confusable], count: int, seed: int) -> list[Confusable]:
    """Kinds in turn; parts and near words in order of nearness, with a little chance so that seeds differ."""
    generator = np.random.default_rng([seed, len(confusables)])
    queues: list[list[Confusable]] = []
    for kind in KINDS:
        items = [item for item in confusables if item.kind == kind]
        jitter = generator.uniform(0.85, 1.15, len(items))
        order = np.argsort([item.distance * factor for item, factor in zip(items, jitter, strict=True)], kind="stable")
        queues.append([items[i] for i in order])
    chosen = [queue[rank] for rank in range(max(map(len, queues), default=0)) for queue in queues if rank < len(queue)]
    return chosen[:count]
