"""Accents of English: what speakers of other languages, and Londoners, make of the sounds of a pronunciation.

Each accent is a list of substitutions that are well described; a speaker makes some of them, and makes them throughout.
Sources: M. Swan and B. Smith (eds.), Learner English, 2nd edition, 2001, chapter by first language (LE); J. C. Wells,
Accents of English, 1982 (AE); and those named beside a substitution.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword_core.config import AccentName
from wakeword_core.speech.pronunciation.phonetics import TOO_NEAR, edit_cost, edit_cost_within, normalise

_VOWEL = "[aeiouæɑɒɔəɚɛɜɝɪʊʌᵻɐː]"
_TRIES = 12
"""How many speakers are asked for a text before it stays without an accent: some would turn it into another text."""
_PLAINLY_OTHER = 1.0
"""Edit cost from the phrase, about that of a sound more or less and another one changed, which is no accent of it."""
_DETOUR = 1.5
"""How much cheaper, at most, an edit is by way of a third sound."""


@dataclass(frozen=True)
class Rule:
    """One substitution: what is looked for in a word (a pattern), and what becomes of it, one a speaker."""

    sought: str
    replacements: tuple[str, ...]


def _rule(sought: str, *replacements: str) -> Rule:
    return Rule(sought, replacements)


# The sibilant, the stop and the labial for th: which one depends on the first language (L. Brannen, The role of
# perception in differential substitution, Canadian Journal of Linguistics 47, 2002).
_TH_SIBILANT = (_rule("θ", "s"), _rule("ð", "z"))
_TH_STOP = (_rule("θ", "t"), _rule("ð", "d"))
_TH_LABIAL = (_rule("θ", "f"), _rule("(?<=[^ ])ð", "v"))
# One vowel where English has two (J. E. Flege, O.-S. Bohn, S. Jang, Effects of experience on non-native speakers'
# production and perception of English vowels, Journal of Phonetics 25, 1997: Spanish, Mandarin, German, Korean).
_I_MERGED = (_rule("(?<![eaɔ])ɪ(?!ɹ)|iː", "i"),)
_U_MERGED = (_rule("(?<![aoə])ʊ(?!ɹ)|uː", "u"),)
_AE_TO_E = (_rule("æ", "ɛ"),)
_AE_TO_A = (_rule("æ", "a"),)
_STRUT_TO_A = (_rule("ʌ", "a"),)
# The short o of "robin" as it is written (LE: most languages of Europe).
_LOT_TO_O = (_rule("ɑː(?!ɹ)|ɒ", "ɔ"),)
# Languages without weak vowels give the written one its full sound (LE; J. Jenkins, The phonology of English as an
# international language, 2000).
_FULL_SCHWA = (_rule("ə(?!ʊ|ɹ)|ɐ", "a", "ɛ"),)
# No voiced obstruents at the end of words (F. Eckman, Markedness and the contrastive analysis hypothesis, Language
# Learning 27, 1977: German; LE: Russian, Polish, Turkish, Chinese).
_DEVOICED = tuple(
    _rule(f"{voiced}(?= |$)", voiceless)
    for voiced, voiceless in {"b": "p", "d(?!ʒ)": "t", "ɡ": "k", "v": "f", "z": "s", "dʒ": "tʃ", "ʒ": "ʃ"}.items()
)
# A vowel before s and a consonant (R. S. Carlisle, The influence of environment on vowel epenthesis in Spanish/English
# interphonology, Applied Linguistics 12, 1991; LE: Portuguese, Arabic, Farsi).
_E_BEFORE_S = (_rule("(?:^|(?<= ))s(?=[ptkmnlfw])", "ɛs"),)
_H_DROPPED = (_rule("(?:^|(?<= ))h", ""),)
_W_TO_V = (_rule("w", "v"),)
_R_ROLLED = (_rule("ɹ", "r"), _rule("ɚ|ɝː?|ɜː", "ɛr"))
_MONOPHTHONGS = (_rule("eɪ", "eː"), _rule("oʊ|əʊ", "oː"))

ACCENTS: dict[AccentName, tuple[Rule, ...]] = {
    # p becomes b for want of a p, vowels merge, clusters are broken up (LE, Arabic)
    "arabic": (_rule("p", "b"), _rule("v", "f"), *_E_BEFORE_S, *_R_ROLLED, *_TH_SIBILANT, _rule("ŋ(?= |$)", "ŋɡ")),
    "cantonese": (*_TH_LABIAL, *_I_MERGED, *_AE_TO_E, *_DEVOICED, _rule("ɹ", "w", "l"), _rule("v", "w", "f")),
    # h is silent, r is made at the back, i and u are one each (LE, French)
    "french": (*_TH_SIBILANT, *_H_DROPPED, _rule("ɹ", "ʁ"), *_I_MERGED, *_U_MERGED, _rule("tʃ", "ʃ"), *_LOT_TO_O),
    # æ is heard and said as ɛ (O.-S. Bohn and J. E. Flege, The production of new and similar vowels by adult German
    # learners of English, Studies in Second Language Acquisition 14, 1992)
    "german": (*_TH_SIBILANT, *_W_TO_V, *_AE_TO_E, *_DEVOICED, _rule("ɹ", "ʁ"), *_LOT_TO_O),
    # retroflex stops, dental stops for th, one sound for v and w, pure long vowels (AE, volume 3; LE, South Asian)
    "hindi": (*_TH_STOP, _rule("t(?!ʃ)", "ʈ"), _rule("d(?!ʒ)", "ɖ"), _rule("[vw]", "ʋ"), *_MONOPHTHONGS, *_R_ROLLED),
    "italian": (*_TH_STOP, *_H_DROPPED, *_I_MERGED, *_AE_TO_E, *_FULL_SCHWA, *_LOT_TO_O, *_R_ROLLED),
    # one liquid (K. Aoyama et al., Perceived phonetic dissimilarity and L2 speech learning: the case of Japanese /r/
    # and English /l/ and /r/, Journal of Phonetics 32, 2004), vowels between and after consonants (E. Dupoux et al.,
    # Epenthetic vowels in Japanese: a perceptual illusion?, Journal of Experimental Psychology 25, 1999)
    "japanese": (
        *_TH_SIBILANT, _rule("[ɹl]", "ɹ", "l"), _rule("v", "b"), *_AE_TO_A, *_STRUT_TO_A, _rule("ɚ|ɝː?|ɜː", "aː"),
        _rule("f(?=u)", "h"), _rule("([td])(?=[bdfklmptvɡʋ]| |$)", r"\1o"),
        _rule("([bfkpsvzɡʃl])(?=[bdfhklmnpstvzɡɹ]| |$)", r"\1u"),
    ),
    # th as f and v between and after vowels, h silent, t made in the throat, l as a vowel (AE, volume 2, London)
    "london": (
        *_TH_LABIAL, *_H_DROPPED, _rule(f"(?<={_VOWEL})t(?=ə|n̩|l̩| |$)", "ʔ"), _rule(f"(?<={_VOWEL})l(?= |$)", "ʊ"),
    ),
    # few consonants end words; i and ɪ, ɛ and æ merge (LE, Chinese; Flege, Bohn and Jang)
    "mandarin": (*_TH_SIBILANT, *_I_MERGED, *_AE_TO_E, *_DEVOICED, _rule("v", "w"), _rule("l(?= |$)", "w")),
    "polish": (*_TH_LABIAL, *_DEVOICED, *_W_TO_V, *_I_MERGED, *_AE_TO_E, *_LOT_TO_O, *_R_ROLLED, _rule("h", "x")),
    # i before s and a consonant and after final stops, open e, h for r at the beginning (LE, Portuguese)
    "portuguese": (
        *_TH_STOP, *_I_MERGED, *_U_MERGED, *_AE_TO_E, _rule("(?:^|(?<= ))s(?=[ptkmnlfw])", "is"),
        _rule("([tkpbdɡ])(?= |$)", r"\1i"), _rule("(?:^|(?<= ))ɹ", "h"), _rule("l(?= |$)", "w"),
    ),
    "russian": (*_TH_SIBILANT, *_W_TO_V, _rule("h", "x"), *_I_MERGED, *_AE_TO_E, *_LOT_TO_O, *_DEVOICED, *_R_ROLLED),
    # v is b, z is s, five vowels (LE, Spanish; Flege, Bohn and Jang)
    "spanish": (
        *_TH_STOP, *_I_MERGED, *_U_MERGED, *_AE_TO_A, *_STRUT_TO_A, *_LOT_TO_O, *_FULL_SCHWA, *_E_BEFORE_S, *_R_ROLLED,
        _rule("v", "b"), _rule("z", "s"), _rule("h", "x"), _rule("(?:^|(?<= ))j", "dʒ"),
    ),
}  # fmt: skip
"""Substitutions of each accent, in the order in which they are made."""

_LEAST_DEGREE = 0.4
"""How likely each substitution is for the speaker with the lightest accent that is drawn; 1 for the heaviest."""

_FARTHEST = 0.25
"""Edit cost a sound from which on nobody who knows the phrase would know it in an accent."""


def accented(ipa: str, accent: AccentName, generator: np.random.Generator) -> str:
    """Return what one speaker with an accent makes of a pronunciation, as `ipa.canonical` gives it."""
    degree = generator.uniform(_LEAST_DEGREE, 1)
    for rule in ACCENTS[accent]:
        taken, choice = generator.random(), int(generator.integers(len(rule.replacements)))
        if taken < degree:
            ipa = re.sub(rule.sought, rule.replacements[choice], ipa)
    return " ".join(ipa.split())  # of a word of nothing but an h nothing may be left


class Listener:
    """Judges whether an accent leaves a text what it is: the phrase itself, or something else.

    `phrase` holds the ways in which the phrase is said, `others` short texts that are not it, such as confusable
    phrases, and `speech` longer ones, all as IPA.
    """

    def __init__(self, phrase: Sequence[str], others: Sequence[str] = (), speech: Sequence[str] = ()) -> None:
        self._phrase = _sounds(phrase)
        self._speech = _sounds(speech)
        self._others = {other: min(edit_cost(way, other) for way in self._phrase) for other in _sounds(others)}
        self.hears_phrase = functools.cache(self._hears_phrase)
        """Tell whether a saying of the phrase is still near to it, farther from all others, and in no speech."""
        self._from_phrase = functools.cache(self._least_cost_within)

    def hears_other(self, ipa: str, plain: str) -> bool:
        """Tell whether a saying of something else, `plain` without an accent, is brought no nearer to the phrase by it.

        From a distance at which nobody would take it for the phrase, it may come nearer.
        """
        return self._from_phrase(ipa) >= max(TOO_NEAR, min(self._from_phrase(plain), _PLAINLY_OTHER))

    def _hears_phrase(self, ipa: str) -> bool:
        sound = normalise(ipa)
        own = min(edit_cost(sound, way) for way in self._phrase)
        if not sound or own > _FARTHEST * len(sound) or any(sound in text for text in self._speech):
            return False
        apart = max(TOO_NEAR, own)
        # what is far enough from the phrase is so from all that is near to the phrase
        near = [other for other, cost in self._others.items() if cost < _DETOUR * (own + apart)]
        return all(edit_cost(sound, other) >= apart for other in near)

    def _least_cost_within(self, ipa: str) -> float:
        sound = normalise(ipa)
        return min(edit_cost_within(way, sound) for way in self._phrase)


def accented_safely(
    ipa: str, accents: Sequence[AccentName], is_phrase: bool, listener: Listener, generator: np.random.Generator
) -> tuple[str, AccentName] | None:
    """Return a text in one of the accents, and which; None where no speaker asked changes it and leaves it what it is.

    Where `is_phrase` the listener has to hear the phrase, and otherwise has not to.
    """
    for _ in range(_TRIES):
        accent = accents[int(generator.integers(len(accents)))]
        said = accented(ipa, accent, generator)
        if said != ipa and (listener.hears_phrase(said) if is_phrase else listener.hears_other(said, ipa)):
            return said, accent
    return None


def _sounds(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(normalise, texts))))
