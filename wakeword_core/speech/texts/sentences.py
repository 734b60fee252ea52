"""Everyday sentences that are not the wake word: a shipped list, and a small grammar that makes thousands more."""

import functools
import json
from collections.abc import Iterator, Sequence
from importlib import resources

import numpy as np

from wakeword_core.errors import DataError
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard

_WORDS_A_PAIR = 4
_BATCH = 64
_FRUITLESS_BATCHES = 8
_SHIPPED_EVERY = 3


@functools.cache
def _grammar() -> dict[str, list[str]]:
    """Slot -> what may stand there, with slots of its own in braces."""
    grammar: dict[str, list[str]] = json.loads((resources.files(__package__) / "grammar.json").read_text("utf-8"))
    return grammar


def everyday_sentences() -> list[str]:
    """Read the shipped sentences."""
    lines = (resources.files(__package__) / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def word_list(name: str) -> list[str]:
    """Read a shipped list of words, in which lines that begin with # say where they are from."""
    lines = (resources.files(__package__) / name).read_text(encoding="utf-8").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def common_words() -> list[str]:
    """Read the shipped list of common English words and names."""
    return word_list("words.txt")


def vocabulary() -> list[str]:
    """Read the common words and given names, each of which may be said by itself, or be taken for a wake word."""
    return sorted({*common_words(), *word_list("names.txt")})


def single_words(count: int, seed: int, guard: PhraseGuard) -> list[str]:
    """Return `count` texts of one word or name, every fourth of two, none of which may be taken for the phrase.

    That is: the guard finds the phrase in none of them, and none is how some people say it.
    The same for the same seed; a longer list begins with the shorter one. DataError when the guard refuses them all.
    """
    if count == 0:
        return []
    words = vocabulary()
    kept = _unlike(words, guard)
    if not kept:
        raise DataError("every common word sounds like the phrase; set synthesis.words to 0")
    turns = np.random.default_rng([seed, len(kept)]).integers(len(kept), size=(count, 2)).tolist()
    pairs = [f"{kept[first]} {kept[second]}" for first, second in turns]
    fit = set(_unlike(pairs, guard))
    return [
        pair if index % _WORDS_A_PAIR == 0 and pair in fit else kept[first]
        for index, (pair, (first, _)) in enumerate(zip(pairs, turns, strict=True))
    ]


def _unlike(texts: Sequence[str], guard: PhraseGuard) -> list[str]:
    contained, near = guard.contains(texts), guard.near(texts)
    return [text for text, *refused in zip(texts, contained, near, strict=True) if not any(refused)]


def around_a_phrase(count: int, seed: int, guard: PhraseGuard) -> tuple[list[str], list[str]]:
    """Return up to `count` texts that come before a wake word, and as many that come after one, such as requests.

    The guard finds the phrase in none. The same for the same seed; DataError when the guard refuses them all.
    """
    sides = []
    for number, slot in enumerate(("opening", "request")):
        generator, words = np.random.default_rng([seed, count, number]), common_words()
        texts = list(dict.fromkeys(_expand(f"{{{slot}}}", generator, words) for _ in range(count)))
        kept = [text for text, refused in zip(texts, guard.contains(texts), strict=True) if not refused]
        if count and not kept:
            raise DataError("all that could be said around the phrase contains it; set synthesis.carrier_share to 0")
        sides.append(kept)
    return sides[0], sides[1]


def sentences(count: int, seed: int, guard: PhraseGuard) -> list[str]:
    """Return `count` different sentences, none of which the guard finds the phrase in; the same for the same seed.

    A longer list begins with the shorter one. DataError when the guard refuses nearly everything.
    """
    candidates = _candidates(np.random.default_rng([seed, 7]))
    kept: dict[str, None] = {}
    fruitless = 0
    while len(kept) < count:
        batch = [next(candidates) for _ in range(_BATCH)]
        before = len(kept)
        kept.update((text, None) for text, refused in zip(batch, guard.contains(batch), strict=True) if not refused)
        fruitless = fruitless + 1 if len(kept) == before else 0
        if fruitless == _FRUITLESS_BATCHES:
            raise DataError(
                f"only {len(kept)} of {count} sentences can be made without the phrase in them; choose a longer phrase"
            )
    return list(kept)[:count]


def _candidates(generator: np.random.Generator) -> Iterator[str]:
    shipped = everyday_sentences()
    order = iter(generator.permutation(len(shipped)))
    words = common_words()
    position = 0
    while True:
        index = next(order, None) if position % _SHIPPED_EVERY == 0 else None
        text = _expand("{sentence}", generator, words) if index is None else shipped[index]
        yield text[0].upper() + text[1:]
        position += 1


def _expand(template: str, generator: np.random.Generator, words: list[str]) -> str:
    text, rest = "", template
    while "{" in rest:
        before, _, after = rest.partition("{")
        slot, _, rest = after.partition("}")
        options = words if slot == "word" else _grammar()[slot]
        text += before + _expand(options[int(generator.integers(len(options)))], generator, words)
    return text + rest
