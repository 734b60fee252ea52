"""How each line of a plan is delivered: its pronunciation, the accent and the manner it is said in."""

import functools
from collections.abc import Sequence

import numpy as np

from wakeword_core.config import AccentName, MannerName, SynthesisConfig
from wakeword_core.files import digest
from wakeword_core.speech import espeak
from wakeword_core.speech.engines import Engine
from wakeword_core.speech.people import MANNERS
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.pronunciation.accents import ACCENTS, Listener, accented_safely
from wakeword_core.speech.pronunciation.ipa import from_espeak
from wakeword_core.speech.pronunciation.phonetics import HEARD_ACCENTS


class Delivery:
    """Draws how lines are said, from the settings and a seed; without any of them, engines read texts by themselves.

    `others` and `speech` are texts that are no wake word, short ones and long ones, from which a wake word said in an
    accent is told apart.
    """

    def __init__(
        self,
        wake_words: Sequence[str],
        pronunciations: Pronunciations,
        config: SynthesisConfig,
        seed: int,
        others: Sequence[str] = (),
        speech: Sequence[str] = (),
    ) -> None:
        self._wake_words, self._pronunciations, self._seed = wake_words, pronunciations, seed
        self._accent_share, self._people_share = config.accent_share, config.people_share
        self._accents: tuple[AccentName, ...] = config.accents or tuple(ACCENTS)
        self._manners: tuple[MannerName, ...] = config.people or tuple(MANNERS)
        self._others, self._speech = others, speech
        self._read = functools.cache(lambda text, accent: from_espeak(espeak.phonemes([text], accent)[0]))
        self._listener = functools.cache(self._listener_for)
        self._ways = functools.cache(self._ways_of)

    def can_say(self, engine: Engine, text: str) -> bool:
        """Tell whether an engine can say a text, and say it as it has to be."""
        if self._pronunciations.of(text) is None:
            return engine.can_say(text)
        rest = self._pronunciations.unread(text)
        return engine.speaks_ipa and (not rest or engine.can_say(rest))

    def ipa(self, text: str, engine: Engine, language: str, place: Sequence[object]) -> str | None:
        """Return how the line at a place of the plan is pronounced; None where that is left to the engine.

        `language` is that of the voice, whose accent counts where it is one of English.
        """
        accent = accent_of(language)
        ipa = self._pronunciations.of(text, accent, self._turn(text, place))
        generator = self._generator("accent", *place)
        if generator.random() >= self._accent_share or not engine.speaks_ipa:
            return ipa
        plain = ipa or self._read(text, accent)
        if not plain:
            return ipa
        is_phrase = text in self._wake_words
        listener = self._listener((text,) if is_phrase else tuple(self._wake_words))
        said = accented_safely(plain, self._accents, is_phrase, listener, generator)
        return said[0] if said else ipa

    def manner(self, place: Sequence[object]) -> MannerName | None:
        """Return the manner in which the line at a place of the plan is said; None: the voice's own."""
        generator = self._generator("manner", *place)
        if generator.random() >= self._people_share:
            return None
        return self._manners[int(generator.integers(len(self._manners)))]

    def _turn(self, text: str, place: Sequence[object]) -> int:
        """Which of the ways of saying a text it is the turn of: in every so many lines each once, in some order."""
        *folder, index = place
        ways = self._pronunciations.ways(text)
        rounds, turn = divmod(int(str(index)), ways)
        return int(self._generator("ways", *folder, rounds).permutation(ways)[turn]) if ways > 1 else 0

    def _listener_for(self, phrases: tuple[str, ...]) -> Listener:
        """Who tells some of the wake words from everything else, the other wake words too."""
        own = [way for phrase in phrases for way in self._ways(phrase)]
        rivals = [way for word in self._wake_words if word not in phrases for way in self._ways(word)]
        return Listener(own, [*rivals, *self._sounds_of_others], self._sounds_of_speech)

    @functools.cached_property
    def _sounds_of_others(self) -> list[str]:
        return self._sounds(self._others)

    @functools.cached_property
    def _sounds_of_speech(self) -> list[str]:
        return self._sounds(self._speech)

    def _ways_of(self, word: str) -> list[str]:
        return self._pronunciations.all_ways(word) or [self._read(word, accent) for accent in espeak.ACCENTS]

    def _sounds(self, texts: Sequence[str]) -> list[str]:
        unique = list(dict.fromkeys(texts))
        return [from_espeak(ipa) for accent in HEARD_ACCENTS for ipa in self._pronunciations.phonemize(unique, accent)]

    def _generator(self, *parts: object) -> np.random.Generator:
        return np.random.default_rng(int(digest([self._seed, *parts])[:12], 16))


def accent_of(language: str) -> str:
    """Return the accent of English that a voice of a language is pronounced in."""
    return language if language in espeak.ACCENTS else "en-us"
