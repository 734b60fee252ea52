"""The letters of the International Phonetic Alphabet: one way to write a pronunciation, and its sounds one by one.

Of several ways to write the same (ligatures, ties, the Latin g, stress before the syllable or before its vowel) one is
chosen, which all engines get.
"""

import re
import unicodedata

from wakeword_core.errors import DataError

VOWELS = frozenset("iyɨʉɯuɪʏʊeøɘɵɤoəɚɛœɜɝɞʌɔæɐaɶɑɒᵻ")
CONSONANTS = frozenset("pbtdʈɖcɟkɡqɢʔmɱnɳɲŋɴʙrʀⱱɾɽɸβfvθðszʃʒʂʐçʝxɣχʁħʕhɦɬɮʋɹɻjɰlɭʎʟwʍɥɕʑɫɧ")
STRESS = "ˈˌ"
SYLLABIC = "\u0329"
_MODIFIERS = frozenset("ːˑʰʲʷˠˤʼ\u0303\u0325\u032a\u032c\u032f\u031a\u0306\u031e\u031f\u0320\u0308" + SYLLABIC)
_REWRITTEN = {
    "g": "ɡ", ":": "ː", "'": "ˈ", "ʧ": "tʃ", "ʤ": "dʒ", "ʦ": "ts", "ʣ": "dz", "ʨ": "tɕ", "ʥ": "dʑ", "c\u0327": "ç",
    "ə˞": "ɚ", "ɜ˞": "ɝ", "ɚː": "ɚ", "\u0361": "", "\u035c": "", "\u200d": "", ".": "", "|": " ", "‖": " ", "-": "",
}  # fmt: skip
_SOUND = re.compile(f"[{STRESS}]|[^{STRESS}][{''.join(_MODIFIERS)}]*")
_LONGEST = 400


def canonical(ipa: str) -> str:
    """Return a pronunciation in the one way that engines get: words apart by one space, stress before its vowel.

    It may stand between slashes or brackets. DataError names the first symbol that no voice could say.
    """
    if len(ipa) > _LONGEST:
        raise DataError(f"the pronunciation {ipa[:40]!r}... is longer than {_LONGEST} characters; give a phrase's only")
    text = unicodedata.normalize("NFD", ipa).strip()
    if len(text) > 1 and (text[0], text[-1]) in {("/", "/"), ("[", "]")}:
        text = text[1:-1]
    for written, chosen in _REWRITTEN.items():
        text = text.replace(written, chosen)
    words = [sounds(word) for word in text.split()]
    unknown = next((one for one in text if one not in _KNOWN and not one.isspace()), None)
    if unknown is not None:
        raise DataError(
            f"the pronunciation {ipa!r} has {unknown!r} ({_name(unknown)}), which is no symbol of the phonetic "
            "alphabet that the voices know; write the sound with another one"
        )
    alone = next((part for word in words for part in word if part[0] in _MODIFIERS), None)
    if alone is not None:
        raise DataError(
            f"in the pronunciation {ipa!r}, {alone!r} ({_name(alone[0])}) stands alone; put it after a letter"
        )
    if not set(text) & (VOWELS | CONSONANTS):
        raise DataError(f"the pronunciation {ipa!r} has no sound in it; write it in the phonetic alphabet (IPA)")
    return " ".join(filter(None, map(_stressed, words)))


def sounds(word: str) -> list[str]:
    """Split a word into its sounds and marks of stress; what modifies a letter, such as ː, stays with it."""
    return _SOUND.findall(word)


def is_vowel(sound: str) -> bool:
    """Tell whether a sound can carry stress: a vowel, or a consonant that is a syllable by itself."""
    return sound[0] in VOWELS or SYLLABIC in sound


def from_espeak(phonemes: str) -> str:
    """Return what `espeak.phonemes` tells, in the one way of writing: without tones and other
    notes of its own, such as of a change of language.

    "" where nothing is said.
    """
    text = unicodedata.normalize("NFD", re.sub(r"\([a-z-]+\)", "", phonemes))
    said = "".join(letter for letter in text if letter in _KNOWN or letter in _REWRITTEN or letter == "\u0327")
    said = re.sub(rf"(^|[\s{STRESS}])[{''.join(_MODIFIERS)}]+", r"\1", said)
    return canonical(said) if set(said) & (VOWELS | CONSONANTS) else ""


def _name(symbol: str) -> str:
    name = unicodedata.name(symbol, "")
    return name.lower() or f"U+{ord(symbol):04X}"


def _stressed(parts: list[str]) -> str:
    """A word whose marks of stress stand before the vowel that is stressed; a mark without one is left out."""
    said: list[str] = []
    mark = ""
    for part in parts:
        if part in STRESS:
            mark = part
        elif mark and is_vowel(part):
            said += [mark, part]
            mark = ""
        else:
            said.append(part)
    return "".join(said)


_KNOWN = VOWELS | CONSONANTS | _MODIFIERS | set(STRESS) | {" "}
