"""Everyday sentences that are not the wake word: a shipped list, and a small grammar that makes thousands more."""

from collections.abc import Iterator
from importlib import resources

import numpy as np

from wakeword_core.errors import DataError
from wakeword_core.speech.phonetics import PhraseGuard, common_words

_WORDS_A_PAIR = 4
_GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "{name}, {request}?", "hey {name}, {request}.", "okay, {request}.", "{request}, please.",
        "{person} {past} {thing}.", "{person} {past} {thing} {when}.", "why did {person} {verb} {thing}?",
        "{when}, {person} {past} {thing}.", "I think {person} {past} {thing} {where}.", "is {thing} still {where}?",
        "{thing} is {where}.", "hello {name}, how was {day}?", "could {person} {verb} {thing} {when}?",
        "no, not {thing}, {thing}.", "{person} and {person} {past} {thing} {where}.",
        "{number} {unit} {where}, then {number} more.", "it was {number} {unit} on {day}.", "{words}.",
        "don't {verb} {thing}.", "there was {thing} {where} {when}.",
    ),
    "request": (
        "turn {on} {device}", "set a timer for {number} {unit}", "what's the weather {when}", "play {music}",
        "call {name}", "add {food} to the list", "stop that", "remind me about {thing} {when}", "tell me a story",
        "how far is {place}", "open {thing}", "make it {number} percent", "read that again", "where is {person}",
    ),
    "name": (
        "Maria", "Thomas", "Ingrid", "Pablo", "Fatima", "George", "Yuki", "Louise", "Henry", "Amara", "Victor",
        "Wendy", "Simon", "Teresa", "Walter", "Jasmine", "Boris", "Chloe", "Dmitri", "Eleanor", "Franklin", "Harriet",
    ),
    "person": (
        "my sister", "the teacher", "our neighbour", "your uncle", "the driver", "a tall man", "the doctor",
        "her friend", "everybody", "nobody", "his boss", "the cook", "an old sailor", "the twins", "somebody",
        "the plumber", "{name}",
    ),
    "past": (
        "found", "lost", "broke", "sold", "painted", "forgot", "hid", "carried", "cleaned", "wanted", "dropped",
        "fixed", "borrowed", "ignored", "remembered", "ordered", "measured", "threw away", "looked for",
        "talked about",
    ),
    "verb": (
        "find", "lose", "break", "sell", "paint", "forget", "hide", "carry", "clean", "buy", "drop", "fix", "borrow",
        "ignore", "remember", "order", "measure", "throw away", "look for", "talk about",
    ),
    "thing": (
        "the blue bicycle", "an old guitar", "the garden gate", "a box of matches", "the broken lamp",
        "her green coat", "the last ticket", "a pair of gloves", "the kitchen table", "some fresh bread",
        "the wrong key", "two umbrellas", "a jar of honey", "the morning paper", "his silver watch", "the front door",
        "a paper map", "the heavy suitcase", "the neighbour's dog", "a wooden ladder", "the spare tyre",
        "a bucket of paint", "the small mirror", "your phone",
    ),
    "where": (
        "in the cellar", "under the stairs", "behind the school", "at the station", "on the roof", "near the harbour",
        "in the back of the car", "on the second floor", "by the window", "across the street", "outside the bank",
    ),
    "when": (
        "yesterday", "this morning", "last week", "before lunch", "on {day}", "at {number}", "after the concert",
        "tonight", "in the middle of the night", "two days ago", "in {number} {unit}", "every winter",
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "your birthday"),
    "number": (
        "two", "three", "four", "five", "seven", "nine", "eleven", "twelve", "fifteen", "twenty", "forty", "sixty",
    ),
    "unit": ("minutes", "hours", "seconds", "degrees", "miles", "steps", "pages"),
    "on": ("on", "off", "up", "down"),
    "device": (
        "the lights", "the radio", "the heating", "the television", "the fan", "the music", "the coffee machine",
    ),
    "music": ("some jazz", "the next song", "my favourite album", "something slower", "the news", "piano music"),
    "food": ("milk", "tomatoes", "olive oil", "rice", "apples", "cheese", "pepper", "two lemons", "washing powder"),
    "place": ("the airport", "the old bridge", "the sea", "the next village", "the swimming pool", "the cinema"),
    "words": ("{word} {word}", "{word} {word} {word}", "{word} {word} {word} {word}"),
}  # fmt: skip

_BATCH = 64
_FRUITLESS_BATCHES = 8
_SHIPPED_EVERY = 3


def everyday_sentences() -> list[str]:
    """The shipped sentences, as they are."""
    lines = (resources.files(__package__) / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def single_words(count: int, seed: int, guard: PhraseGuard) -> list[str]:
    """`count` texts of one common word, every fourth of two, none of which the guard finds the phrase in.

    The same for the same seed; a longer list begins with the shorter one. DataError when the guard refuses them all.
    """
    if count == 0:
        return []
    words = common_words()
    kept = [word for word, refused in zip(words, guard.contains(words), strict=True) if not refused]
    if not kept:
        raise DataError("every common word sounds like the phrase; set synthesis.words to 0")
    turns = np.random.default_rng([seed, len(kept)]).integers(len(kept), size=(count, 2)).tolist()
    pairs = [f"{kept[first]} {kept[second]}" for first, second in turns]
    refused = guard.contains(pairs)
    return [
        pairs[index] if index % _WORDS_A_PAIR == 0 and not refused[index] else kept[first]
        for index, (first, _) in enumerate(turns)
    ]


def sentences(count: int, seed: int, guard: PhraseGuard) -> list[str]:
    """`count` different sentences, none of which the guard finds the phrase in; the same for the same seed.

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
    """Replace each slot by a drawn alternative, itself expanded."""
    text, rest = "", template
    while "{" in rest:
        before, _, after = rest.partition("{")
        slot, _, rest = after.partition("}")
        options = words if slot == "word" else _GRAMMAR[slot]
        text += before + _expand(options[int(generator.integers(len(options)))], generator, words)
    return text + rest
