"""Pronunciations in the phoneme names of espeak-ng, which are those of its English voices.

The names are listed in the documentation of espeak-ng (docs/phonemes.md) and in the phoneme tables of its data. What
English voices have no phoneme for becomes the nearest that they have.
"""

from wakeword_core.speech.pronunciation.ipa import STRESS, is_vowel, sounds

_NAMES = {
    # vowels, and vowels with the r that colours them
    "i": "i", "iː": "i:", "ɪ": "I", "ᵻ": "I#", "e": "e", "eː": "e:", "ɛ": "E", "æ": "a", "a": "a", "ɐ": "a#",
    "ɑ": "A:", "ɑː": "A:", "ɒ": "0", "ɔ": "O", "ɔː": "O:", "o": "o", "oː": "o:", "ʊ": "U", "u": "u", "uː": "u:",
    "ʌ": "V", "ə": "@", "ɚ": "3", "ɜ": "3", "ɜː": "3:", "ɝ": "3:", "ɑ̃": "A~", "ɔ̃": "O~",
    "eɪ": "eI", "aɪ": "aI", "ɔɪ": "OI", "aʊ": "aU", "oʊ": "oU", "əʊ": "oU", "æʊ": "aU",
    "iə": "i@", "eə": "e@", "ʊə": "U@", "ɑə": "A@", "ɔə": "O@", "ɔːɹ": "O@", "əɪ": "3:", "aɪə": "aI@", "aɪɚ": "aI3",
    # consonants
    "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "ɡ": "g", "ʔ": "?", "ɾ": "*", "m": "m", "n": "n", "ŋ": "N",
    "f": "f", "v": "v", "θ": "T", "ð": "D", "s": "s", "z": "z", "ʃ": "S", "ʒ": "Z", "h": "h", "tʃ": "tS", "dʒ": "dZ",
    "l": "l", "ɹ": "r", "j": "j", "w": "w", "m̩": "m-", "n̩": "n-", "ŋ̩": "N-", "l̩": "@L", "ɫ": "l",
    # sounds of other languages for which there are phonemes all the same
    "c": "c", "ɟ": "J", "q": "q", "x": "x", "χ": "X", "ɣ": "Q", "ʁ": 'Q"', "ʀ": 'r"', "β": "B", "ç": "C", "ʝ": "J^",
    "ɲ": "n^", "ɳ": "n.", "ʎ": "l^", "ɭ": "l.", "ɬ": "l#", "ʋ": "v#", "ʍ": "w#", "ɕ": "S;", "ʑ": "z;", "ʂ": "s.",
    "ʐ": "z.", "tɕ": "tS;", "dʑ": "dZ;", "t̪": "t[", "d̪": "d[",
    # and those that become the nearest
    "y": "u:", "ʏ": "U", "ø": "3:", "œ": "3:", "ɯ": "U", "ɨ": "I", "ʉ": "U", "ʉː": "u:", "ɤ": "V", "ɘ": "@", "ɵ": "@",
    "ɞ": "3:", "ɶ": "a", "r": "r", "ɻ": "r", "ɽ": "*", "ɸ": "f", "ħ": "h", "ɦ": "h", "ʕ": "?", "ʈ": "t", "ɖ": "d",
    "ɢ": "g", "ɱ": "m", "ɴ": "N", "ʙ": "b", "ⱱ": "v", "ɮ": "l", "ʟ": "l", "ɰ": "w", "ɥ": "w", "ɧ": "S",
}  # fmt: skip
_BEFORE_NO_VOWEL = {"ɪɹ": "i@3", "ɛɹ": "e@", "ʊɹ": "U@", "ɑːɹ": "A@"}
"""Vowels that have the r in them, which is another sound where it begins the next syllable."""
_STRESS_NAMES = {"ˈ": "'", "ˌ": ","}
_LONGEST = 3
"""Most sounds that one phoneme stands for."""
_APART = "|"
"""Between two names that would be read as one, such as t and S."""


def from_ipa(ipa: str) -> str:
    """Return a pronunciation, as `ipa.canonical` gives it, as text that espeak-ng reads as phonemes."""
    return f"[[{' '.join(_word(sounds(word)) for word in ipa.split())}]]"


def _word(parts: list[str]) -> str:
    names: list[str] = []
    position = 0
    while position < len(parts):
        if parts[position] in STRESS:
            names.append(_STRESS_NAMES[parts[position]])
            position += 1
            continue
        taken, found = _longest(parts[position : position + _LONGEST + 1])
        names += found
        position += taken
    return _joined(names)


def _longest(parts: list[str]) -> tuple[int, list[str]]:
    """How many of the next sounds are one phoneme, and its name; a single sound loses what has no name."""
    for count in range(min(len(parts), _LONGEST), 0, -1):
        written = "".join(parts[:count])
        before_vowel = len(parts) > count and (parts[count] in STRESS or is_vowel(parts[count]))
        name = _NAMES.get(written) or (None if before_vowel else _BEFORE_NO_VOWEL.get(written))
        if name is not None:
            return count, [name]
    return 1, [_NAMES[parts[0][0]]] + ([":"] if "ː" in parts[0] else [])


def _joined(names: list[str]) -> str:
    """Names in a row, kept apart where espeak-ng, which takes the longest, would read another one."""
    text = ""
    for name in names:
        last = text[-1:]
        if text and last not in "',:" and any(known.startswith(last + name[0]) for known in _KNOWN if len(known) > 1):
            text += _APART
        text += name
    return text


_KNOWN = frozenset((*_NAMES.values(), *_BEFORE_NO_VOWEL.values()))
