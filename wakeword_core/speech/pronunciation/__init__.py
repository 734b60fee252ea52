"""How texts are said: pronunciations that were given for words and phrases, and what espeak-ng makes of the rest."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from wakeword_core.config import spelling
from wakeword_core.errors import DataError
from wakeword_core.speech import espeak
from wakeword_core.speech.pronunciation.ipa import canonical, from_espeak
from wakeword_core.speech.pronunciation.phonetics import Phonemizer, normalise, unread_letters

_BETWEEN_NUMBERS = re.compile(r"(?<=\d)/(?=\d)")
_MOST_WAYS = 32
_LETTERS = ("Lu", "Ll", "Lo", "Nd")
"""Categories of characters that are read by themselves; ー, which lengthens another, is not."""
_SYLLABLE = 6
"""Most sounds of a letter that is not called by a name, such as "Chinese letter"."""
_ABBREVIATIONS: dict[str, dict[str, str]] = {
    "en": {
        r"no\. ?(?=\d)": "number ", r"mt\.(?= )": "mount", r"lt\.(?= )": "lieutenant", r"capt\.": "captain",
        r"sgt\.": "sergeant", r"prof\.": "professor", r"ft\.(?= )": "fort", r"jr\.": "junior", r"vs\.": "versus",
        r"ms\.(?= )": "miz", r"dr\.(?= )": "doctor", r"mr\.": "mister", r"mrs\.": "missis", r"st\.(?= )": "saint",
    },
    "de": {
        r"dr\.": "Doktor", r"prof\.": "Professor", r"nr\.": "Nummer", r"st\.(?= )": "Sankt", r"hr\.": "Herr",
        r"fr\.(?= )": "Frau", r"z\. ?b\.": "zum Beispiel", r"bzw\.": "beziehungsweise", r"usw\.": "und so weiter",
        r"(?-i:KI)\b": "Ka I", r"str\.": "Straße",
    },
    "fr": {r"(?-i:M\.)(?= )": "Monsieur", r"n° ?": "numéro ", r"no\.? ?(?=\d)": "numéro ", r"prof\.": "professeur"},
    "es": {r"núm\.": "número", r"n[.º°]+ ?(?=\d)": "número ", r"prof\.": "profesor", r"ee\. ?uu\.": "Estados Unidos"},
    "it": {r"sig\.ra\b": "signora", r"sig\.": "signor", r"prof\.": "professor", r"n\. ?(?=\d)": "numero "},
    "ja": {r"(?<=\d)\.(?=\d)": "てん", r"dr\.": "ドクター", r"mr\.": "ミスター", r"no\. ?(?=\d)": "ナンバー"},
}  # fmt: skip
"""What espeak-ng spells out letter by letter or misreads, and the words it stands for, by language; found by trying.
It reads numbers, times, percentages and most capitals as people do."""


class Pronunciations:
    """Tells how texts are said where something is known of it: of the whole text, or of words in it.

    `given` has one or several pronunciations (IPA) for each word or phrase. One for as many words as it has itself is
    also that of each word. A `language` other than None reads `phrases` by the rules of that language, and as wholes
    the `others` that it can read. What is given for an abbreviation is also said where it is spelt out.
    """

    def __init__(
        self,
        given: Mapping[str, str | Sequence[str]] | None = None,
        phrases: Sequence[str] = (),
        language: str | None = None,
        phonemize: Phonemizer = espeak.phonemes,
        others: Sequence[str] = (),
    ) -> None:
        self._phonemize = phonemize
        self._given: dict[tuple[str, ...], tuple[str, ...]] = {}
        for text, ways in (given or {}).items():
            said = tuple(dict.fromkeys(map(canonical, [ways] if isinstance(ways, str) else ways)))
            key = _key(text)
            if not key or not said:
                raise DataError(
                    f"the pronunciation of {text!r} needs a word with letters, and at least one way of saying it"
                )
            self._given[key] = said
        for phrase in phrases if language is not None else ():
            if _key(phrase) and _key(phrase) not in self._given:
                self._given[_key(phrase)] = (pronounce(phrase, str(language)),)
        self._of_words()
        for text in given or {}:
            self._given.setdefault(_key(spelt_out(f"{text} ", language)), self._given[_key(text)])
        for text in others if language is not None else ():
            if _key(text) and _key(text) not in self._given and not _foreign(text, str(language)):
                self._given[_key(text)] = (pronounce(text, str(language)),)
        self._most_words = max(map(len, self._given), default=0)

    def __bool__(self) -> bool:
        return bool(self._given)

    def of(self, text: str, accent: str = "en-us", turn: int = 0) -> str | None:
        """Return how a text is said, or None where nothing of it is given: then engines read it by themselves.

        What is not given between what is, espeak-ng pronounces in the English `accent`. `turn` counts through the ways.
        """
        return self._of_each([text], accent, turn)[0]

    def ways(self, text: str) -> int:
        """Return in how many ways a text is said; 1 where nothing is given."""
        count = 1
        for _, ways in self._pieces(text.split()):
            count *= len(ways) or 1
        return count

    def all_ways(self, text: str) -> list[str]:
        """Return the ways in which a text is said, at most 32 of them; none where nothing is given."""
        said = (self.of(text, turn=turn) for turn in range(min(_MOST_WAYS, self.ways(text))))
        return [way for way in said if way is not None]

    def phonemize(self, texts: Sequence[str], accent: str = "en-us") -> list[str]:
        """Return the IPA of texts as `espeak.phonemes` does, with what was given in its place."""
        own = self._of_each(texts, accent)
        rest = iter(self._phonemize([text for text, ipa in zip(texts, own, strict=True) if ipa is None], accent))
        return [next(rest) if ipa is None else ipa for ipa in own]

    @property
    def phonemizer(self) -> Phonemizer:
        """Return `phonemize`, or the engine's own where nothing is given."""
        return self.phonemize if self._given else self._phonemize

    def unread(self, text: str) -> str:
        """Return the words of a text for which nothing is given: what the engines have to read by themselves."""
        return " ".join(" ".join(words) for words, ways in self._pieces(text.split()) if not ways)

    def _of_each(self, texts: Sequence[str], accent: str, turn: int = 0) -> list[str | None]:
        """Do what `of` does for many texts, and ask espeak-ng once, which takes longer to load than to read words."""
        pieces = [list(self._pieces(text.split())) for text in texts]
        known = [each if any(ways for _, ways in each) else None for each in pieces]
        asked = [" ".join(words) for each in known for words, ways in each or () if not ways]
        answers = map(from_espeak, self._phonemize(asked, accent) if asked else ())
        return [None if each is None else _joined(each, turn, answers) for each in known]

    def _of_words(self) -> None:
        for key, ways in list(self._given.items()):
            words = [way.split() for way in ways]
            if len(key) > 1 and all(len(way) == len(key) for way in words):
                for place, word in enumerate(key):
                    self._given.setdefault((word,), tuple(dict.fromkeys(way[place] for way in words)))

    def _pieces(self, words: list[str]) -> Iterator[tuple[list[str], tuple[str, ...]]]:
        """Words in order, in pieces that are as long as they can be, each with the ways it is said ((): not given)."""
        words = [word for word in words if spelling(word)]
        rest: list[str] = []
        position = 0
        while position < len(words):
            for count in range(min(self._most_words, len(words) - position), 0, -1):
                ways = self._given.get(_key(" ".join(words[position : position + count])))
                if ways:
                    break
            else:
                rest.append(words[position])
                position += 1
                continue
            if rest:
                yield rest, ()
                rest = []
            yield words[position : position + count], ways
            position += count
        if rest:
            yield rest, ()


def _joined(pieces: Sequence[tuple[list[str], tuple[str, ...]]], turn: int, answers: Iterator[str]) -> str:
    said = []
    for _, ways in pieces:
        if ways:
            turn, chosen = divmod(turn, len(ways))
            said.append(ways[chosen])
        else:
            said.append(next(answers))
    return " ".join(filter(None, said))


def pronounce(text: str, language: str = "en-us") -> str:
    """Return how espeak-ng says a text in a language, as IPA: numbers and abbreviations as people of it say them.

    DataError where the language is unknown, the text gives no sound, or a letter is not of that language.
    """
    spelt = spelt_out(unicodedata.normalize("NFKC", text), language)
    foreign = _foreign(spelt, language)
    if foreign:
        raise DataError(
            f"in the language {language}, espeak-ng cannot read {', '.join(foreign)} in {text!r}; give its "
            "pronunciation in the phonetic alphabet (IPA) in synthesis.pronunciations"
        )
    ipa = from_espeak(espeak.phonemes([spelt], language)[0])
    if not ipa:
        raise DataError(f"the text {text!r} gives no sound in the language {language}; use a text with words in it")
    return ipa


def spelt_out(text: str, language: str | None = None) -> str:
    """Return a text with the abbreviations that espeak-ng would spell or misread as words of the language.

    None is English, which phrases are read in unless another language is named.
    """
    text = _BETWEEN_NUMBERS.sub(" ", text)
    for written, words in _ABBREVIATIONS.get((language or "en-us").partition("-")[0], {}).items():
        text = re.sub(rf"(?<!\w)(?:{written})" if written[0] != "(" else written, words, text, flags=re.IGNORECASE)
    return text


def _foreign(text: str, language: str) -> list[str]:
    """Letters of other scripts than the language's, which espeak-ng leaves out or calls by a name.

    It has the name in English, or one for all letters of a script.
    """
    if language.startswith("en"):
        return unread_letters(text)
    letters = [one for one in dict.fromkeys(text) if unicodedata.category(one) in _LETTERS and not one.isascii()]
    named, following, after = (
        espeak.phonemes([chr(ord(one) + step) for one in letters], language) for step in range(3)
    )
    return [
        letter
        for letter, ipa, *others in zip(letters, named, following, after, strict=True)
        if not from_espeak(ipa) or "(en)" in ipa or (others == [ipa, ipa] and len(normalise(ipa)) > _SYLLABLE)
    ]


def _key(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(spelling, text.split())))
