"""The script of a synthesis: what is said in each folder, and what nobody may say there."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from wakeword_core.config import SynthesisConfig
from wakeword_core.errors import DataError
from wakeword_core.speech.plan import PIECES, WORDS, Around, Said
from wakeword_core.speech.pronunciation import Pronunciations, spelt_out
from wakeword_core.speech.pronunciation.phonetics import HEARD_ACCENTS, PhraseGuard, normalise, unread_letters
from wakeword_core.speech.texts.confusables import confusable_phrases, draw
from wakeword_core.speech.texts.sentences import around_a_phrase, sentences, single_words

log = logging.getLogger(__name__)

_CONFUSABLES = 3_000
"""Phrases that sound alike among which those that are said are drawn: more than any phrase has."""
_OWN_EVERY, _MOST_OF_OWN = 4, 40
"""Every so many hard negatives are confusables of the configuration, until each was said so often."""
_AROUND = 200
_BABBLED = 64
"""Sentences for the talkers of a babble, at least."""


@dataclass(frozen=True)
class Script:
    """What is said in each folder, the sentences that a babble is made of, and who tells what holds a wake word."""

    said: tuple[Said, ...]
    sentences: list[str]
    guard: PhraseGuard


def write_script(
    phrase: str, config: SynthesisConfig, seed: int, pronunciations: Pronunciations | None = None
) -> Script:
    """Write what is said for a phrase and the further wake words of the settings; the same for the same seed.

    Nothing but positives has a wake word in it. DataError when a wake word gives no sound, when nothing sounds like
    one, or when a confusable of the settings contains one.
    """
    pronunciations = pronunciations or Pronunciations()
    wake_words = (phrase, *config.phrases)
    spelt = [spelt_out(word, config.phrase_language) for word in wake_words]
    confusables = [spelt_out(text, config.phrase_language) for text in config.confusables]
    ways = [way for word in spelt for way in pronunciations.all_ways(word)]
    guard = PhraseGuard(spelt, pronunciations.phonemizer, ways)
    _require_different(spelt, pronunciations)
    _require_no_wake_word(config.confusables, confusables, guard)
    around = Around(*around_a_phrase(_AROUND, seed, guard), guard) if config.carrier_share else None
    said: list[Said] = []
    for number, (word, text) in enumerate(zip(wake_words, spelt, strict=True), 1):
        ending = "" if number == 1 else f"_{number}"
        alike = _alike(text, config, seed, guard, confusables if number == 1 else (), pronunciations)
        said += [
            Said(f"positive{ending}", "positive", (text,), config.positives, label=word, around=around),
            Said(f"hard_negative{ending}", "hard_negative", alike, config.hard_negatives, around=around),
            Said(f"{PIECES}{ending}", "hard_negative", (text,), _pieces(text, spelt, config, pronunciations), cut=True),
        ]
    background = config.background_minutes or config.held_out_background_minutes
    spoken = sentences(max(config.negatives, _BABBLED if background else 0), seed, guard)
    said.append(Said("negative", "negative", spoken, config.negatives))
    said.append(Said(WORDS, "negative", single_words(config.words, seed, guard), config.words))
    return Script(tuple(one for one in said if one.count), spoken, guard)


def _alike(
    phrase: str,
    config: SynthesisConfig,
    seed: int,
    guard: PhraseGuard,
    own: Sequence[str],
    pronunciations: Pronunciations,
) -> Sequence[str]:
    """What is said as hard negatives of a phrase: first those of the configuration, then all in turn."""
    if not config.hard_negatives:
        return ()
    found = [
        item
        for item in confusable_phrases(phrase, _CONFUSABLES, seed, guard, pronunciations.phonemizer)
        if not pronunciations or not unread_letters(pronunciations.unread(item.text))
    ]
    drawn = draw([item for item in found if item.kind in config.confusable_kinds], config.hard_negatives, seed)
    if not drawn and not own:
        kinds = ", ".join(config.confusable_kinds) or "none"
        raise DataError(
            f"nothing sounds like {phrase!r} of the kinds in synthesis.confusable_kinds, which are {kinds}; name more "
            "of them, or set synthesis.hard_negatives to 0"
        )
    others, texts = iter(drawn), list(own)
    repeated = iter([*own] * (_MOST_OF_OWN - 1))
    while len(texts) < config.hard_negatives:
        turn = (repeated, others) if len(texts) % _OWN_EVERY == 0 else (others, repeated)
        text = next(turn[0], None) or next(turn[1], None)
        if text is None:
            break
        texts.append(text)
    return texts


def _require_different(wake_words: Sequence[str], pronunciations: Pronunciations) -> None:
    ways = [set(map(normalise, pronunciations.all_ways(word))) for word in wake_words]
    for accent in HEARD_ACCENTS:
        said = map(normalise, pronunciations.phonemize(wake_words, accent))
        sounds = [{one, *more} for one, more in zip(said, ways, strict=True)]
        for place, word in enumerate(wake_words):
            alike = [other for other, others in zip(wake_words, sounds[:place], strict=False) if others & sounds[place]]
            if alike:
                raise DataError(
                    f"synthesis.phrases names {word!r}, which sounds as {alike[0]!r} does: no model can tell them "
                    "apart; leave it out"
                )


def _pieces(word: str, wake_words: Sequence[str], config: SynthesisConfig, pronunciations: Pronunciations) -> int:
    """How many pieces of a wake word are made: none where another is in it, which a piece might be."""
    others = [other for other in wake_words if other != word]
    ways = [way for other in others for way in pronunciations.all_ways(other)]
    if config.pieces and others and any(PhraseGuard(others, pronunciations.phonemizer, ways).contains([word])):
        log.warning("No pieces are made of %r, because another wake word is heard in it.", word)
        return 0
    return config.pieces


def _require_no_wake_word(confusables: Sequence[str], spelt: Sequence[str], guard: PhraseGuard) -> None:
    for text, contained in zip(confusables, guard.contains(spelt), strict=True):
        if contained:
            raise DataError(
                f"synthesis.confusables names {text!r}, in which a wake word is heard: a model cannot be taught to "
                "leave it unheard; leave it out"
            )
