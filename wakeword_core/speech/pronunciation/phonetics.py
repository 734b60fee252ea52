"""Phonemes of phrases, how far apart they sound, and which texts have a phrase in them."""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from wakeword_core.errors import DataError
from wakeword_core.speech import espeak

Phonemizer = Callable[[Sequence[str], str], list[str]]
"""IPA of texts in an accent, phonemes separated by `_` and words by spaces: `espeak.phonemes` or a stand-in."""

# One American and one British accent: words that are homophones in either must not become negatives.
HEARD_ACCENTS = ("en-us", "en-gb-x-rp")
_IGNORED = re.compile(r"\([a-z-]+\)|[ˈˌːˑ.‖|_\s\u0300-\u036f\u200d]")
_MERGED = {
    "ɾ": "t", "ʔ": "t", "ʈ": "t", "ɖ": "d", "ɐ": "ə", "ᵻ": "ɪ", "ɚ": "əɹ", "ɝ": "ɜɹ", "ɫ": "l", "r": "ɹ", "ɡ": "g",
}  # fmt: skip
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
    "ʋ": (0.5, 3.5, 1), "ʁ": (5, 2, 1),
}  # fmt: skip
_WEAK = frozenset("əhɪ")
_WEAK_GAP, _GAP = 0.5, 0.8
_SAME_CLASS_BASE = 0.1
_VOWEL_GLIDE = {("i", "j"): 0.3, ("ɪ", "j"): 0.4, ("u", "w"): 0.3, ("ʊ", "w"): 0.4, ("ɜ", "ɹ"): 0.4, ("ə", "ɹ"): 0.5}

TOO_NEAR = 0.45
"""Cheaper than this, "robbing" for "robin" or "wobin", is how some people say the phrase itself."""
_LIGATURE = 3
"""Most phonemes of a ligature."""


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
    names = dict(zip(letters, phonemize(letters, HEARD_ACCENTS[0]), strict=True))
    read = {word: normalise(ipa) for word, ipa in zip(words, phonemize(words, HEARD_ACCENTS[0]), strict=True)}
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
    first, second = _without_common_ends(first, second)
    return _edit_costs(first, second, [0.0, *accumulate(map(_gap, second))])[-1]


def edit_cost_within(sought: str, text: str) -> float:
    """Return the least edit cost of a phoneme string and any part of another one: 0 where it is in there."""
    return min(_edit_costs(sought, text, [0.0] * (len(text) + 1)))


def _edit_costs(first: str, second: str, begin: list[float]) -> list[float]:
    """Costs of `first` against what ends at each place of `second`, from the costs of beginning at each."""
    previous = begin
    for phoneme in first:
        gap = _gap(phoneme)
        current = [previous[0] + gap]
        for column, other in enumerate(second, 1):
            replaced = previous[column - 1] + substitution_cost(phoneme, other)
            current.append(min(previous[column] + gap, current[-1] + _gap(other), replaced))
        previous = current
    return previous


def distance(first: str, second: str) -> float:
    """Return `edit_cost` divided by the longer string's length: 0 for the same sounds to about 1."""
    return edit_cost(first, second) / max(len(first), len(second), 1)


class PhraseGuard:
    """Tells which texts contain one of some phrases, by spelling or by sound, in American or British English.

    `ways` are further ways of saying one of them (IPA).
    """

    def __init__(
        self, phrases: Sequence[str], phonemize: Phonemizer = espeak.phonemes, ways: Sequence[str] = ()
    ) -> None:
        self._phonemize = phonemize
        self._words = [_spelling(phrase) for phrase in phrases]
        self._sounds = {accent: list(map(normalise, phonemize(phrases, accent))) for accent in HEARD_ACCENTS}
        for sounds in self._sounds.values():
            for phrase, sound in zip(phrases, sounds, strict=True):
                if not sound:
                    raise DataError(f"the phrase {phrase!r} gives no sound; use a phrase with words in it")
            sounds += map(normalise, ways)

    def contains(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether a phrase, or something that sounds the same, is in it."""
        if not texts:
            return []
        contained = np.array([_holds(_spelling(text), self._words) for text in texts])
        for accent, sounds in self._sounds.items():
            # As one breath, and word by word: words change their vowels in context.
            isolated = self._isolated(texts, accent)
            spoken = self._phonemize(texts, accent)
            contained |= [_holds(normalise(ipa), sounds) for ipa in spoken]
            contained |= [_holds(ipa, sounds) for ipa in isolated]
        return [bool(flag) for flag in contained]

    def is_near(self, sound: str) -> bool:
        """Tell whether normalised phonemes in American English are how some people say a phrase itself."""
        return any(edit_cost(sound, own) < TOO_NEAR for own in self._sounds[HEARD_ACCENTS[0]])

    def near(self, texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether, said by itself, it is how some people say a phrase."""
        return [self.is_near(normalise(ipa)) for ipa in self._phonemize(texts, HEARD_ACCENTS[0])]

    def _isolated(self, texts: Sequence[str], accent: str) -> list[str]:
        vocabulary = sorted({word for text in texts for word in text.split()})
        sounds = dict(zip(vocabulary, map(normalise, self._phonemize(vocabulary, accent)), strict=True))
        return ["".join(sounds[word] for word in text.split()) for text in texts]


def _without_common_ends(first: str, second: str) -> tuple[str, str]:
    """Both strings without what they begin and end with alike, which costs nothing."""
    start = _shared(first, second)
    first, second = first[start:], second[start:]
    end = _shared(first[::-1], second[::-1])
    return first[: len(first) - end], second[: len(second) - end]


def _shared(first: str, second: str) -> int:
    """How many phonemes both begin with."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))


def _gap(phoneme: str) -> float:
    return _WEAK_GAP if phoneme in _WEAK else _GAP


def _holds(text: str, parts: Sequence[str]) -> bool:
    return any(part in text for part in parts)


def _spelling(text: str) -> str:
    """The words of a text, with a space before and after each."""
    words = re.sub(r"[^\w' ]+", " ", text.lower()).split()
    return f" {' '.join(words)} "
