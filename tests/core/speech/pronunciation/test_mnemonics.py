import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import DataError
from wakeword_core.speech import espeak
from wakeword_core.speech.pronunciation import mnemonics
from wakeword_core.speech.pronunciation.ipa import CONSONANTS, VOWELS, canonical, from_espeak
from wakeword_core.speech.pronunciation.phonetics import edit_cost, normalise
from wakeword_core.speech.texts.sentences import common_words

PHRASES = ["hey robin", "okay computer", "water bottle", "measure the judge", "little button", "hal 9000", "R2D2"]


@pytest.fixture(autouse=True)
def _engine():
    pytest.importorskip("espeakng_loader")


@pytest.mark.parametrize("accent", espeak.ACCENTS)
def test_what_a_voice_says_of_a_text_it_says_of_its_phonemes(accent):
    texts = [*common_words(), *PHRASES]
    said = list(map(from_espeak, espeak.phonemes(texts, accent)))
    again = map(from_espeak, espeak.phonemes(list(map(mnemonics.from_ipa, said)), accent, named=True))
    other = [
        (text, first, second)
        for text, first, second in zip(texts, said, again, strict=True)
        if normalise(first) != normalise(second)
    ]
    # a glide or a vowel, as of "the", that depends on the word there, in Scotland most
    assert len(other) < 0.006 * len(texts) and all(
        edit_cost(normalise(first), normalise(second)) < 1 for _, first, second in other
    )


def test_a_phrase_sounds_the_same_by_its_phonemes():
    for text in ("hey robin", "alexa"):
        names = mnemonics.from_ipa(from_espeak(espeak.phonemes([text])[0]))
        spoken, _ = espeak.speak(text, espeak.Voice("en-us", "f2"))
        np.testing.assert_array_equal(espeak.speak(names, espeak.Voice("en-us", "f2"), named=True)[0], spoken)


def test_names_that_run_together_are_kept_apart():
    assert mnemonics.from_ipa("nˈʌtʃɛl") == "[[n'VtSEl]]"
    assert from_espeak(espeak.phonemes([mnemonics.from_ipa("fɔə")], named=True)[0])
    apart = mnemonics.from_ipa("kɹiːɛɪt")
    assert from_espeak(espeak.phonemes([apart], named=True)[0]) == "kɹiːɛɪt"


@pytest.mark.parametrize("letter", sorted(VOWELS | CONSONANTS))
def test_every_symbol_is_spoken_as_one_sound_or_two(letter):
    word = f"b{letter}ˈɑ" if letter in CONSONANTS else f"bˈ{letter}d"
    spoken = from_espeak(espeak.phonemes([mnemonics.from_ipa(canonical(word))], named=True)[0])
    assert spoken[0] == "b" and len(normalise(spoken)) in (2, 3, 4)
    assert len(normalise(spoken)) > 2 or letter in "ʕh"


@given(st.text(st.sampled_from(sorted(VOWELS | CONSONANTS) + list("ˈˌː\u0303 ")), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_pronunciation_has_names(text):
    try:
        said = canonical(text)
    except DataError:
        return
    names = mnemonics.from_ipa(said)
    assert names.startswith("[[") and names.endswith("]]") and names.isascii()
