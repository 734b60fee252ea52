import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import DataError
from wakeword_core.speech.pronunciation.ipa import CONSONANTS, VOWELS, canonical, from_espeak, is_vowel, sounds

SAID = st.text(st.sampled_from(sorted(VOWELS | CONSONANTS) + list("ˈˌː ")), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("/həˈləʊ/", "həlˈəʊ"),
        ("[ˈtʃɪps]", "tʃˈɪps"),
        ("t͡ʃɪps", "tʃɪps"),
        ("ʤʌʤ", "dʒʌdʒ"),
        ("go: 'home", "ɡoː hˈome"),
        ("ˈstɹɪŋ.bin", "stɹˈɪŋbin"),
        ("  hej \n  robin ", "hej robin"),
        ("ˈbʌtn̩ ˈpn̩", "bˈʌtn̩ pˈn̩"),
        ("fransɛ̃ façɑ", "fransɛ̃ façɑ"),
        ("sɜ˞d", "sɝd"),
        ("pst ˈk", "pst k"),
    ],
)
def test_there_is_one_way_to_write_a_pronunciation(written, said):
    assert unicodedata.normalize("NFC", canonical(written)) == unicodedata.normalize("NFC", said)


@given(SAID)
@settings(deadline=None)
def test_the_one_way_stays_as_it_is(text):
    if not set(text) & (VOWELS | CONSONANTS) or {" ː", "ˈː", "ˌː"} & {" " + text[:1], *map("".join, pairwise(text))}:
        with pytest.raises(DataError):
            canonical(text)
        return
    said = canonical(text)
    assert canonical(said) == said == said.strip() and "  " not in said
    written = text.replace("ɚː", "ɚ")  # which says no more
    assert [letter for letter in said if letter not in "ˈˌ "] == [letter for letter in written if letter not in "ˈˌ "]


@pytest.mark.parametrize(
    ("text", "named"),
    [("hε", "'ε' .greek small letter epsilon"), ("a1", "'1'"), ("ma˥", "'˥'"), ("漢", "'漢'"), ("a\0", "U.0000")],
)
def test_a_symbol_that_no_voice_knows_is_named(text, named):
    with pytest.raises(DataError, match=named):
        canonical(text)


@pytest.mark.parametrize("text", ["ː", "a ˈː", "\u0303a"])
def test_what_modifies_nothing_is_named(text):
    with pytest.raises(DataError, match="stands alone"):
        canonical(text)


@pytest.mark.parametrize("text", ["", " ", "ˈ", "//", "[]", "."])
def test_a_pronunciation_without_a_sound_is_refused(text):
    with pytest.raises(DataError, match="no sound"):
        canonical(text)


def test_a_pronunciation_is_no_novel():
    with pytest.raises(DataError, match="longer than"):
        canonical("a" * 401)


def test_sounds_keep_what_modifies_them():
    assert sounds("tˈiːn̩tʰ") == ["t", "ˈ", "iː", "n̩", "tʰ"]
    assert [is_vowel(sound) for sound in ("iː", "n̩", "t")] == [True, True, False]


def test_notes_of_espeak_are_left_out():
    assert from_espeak("n_i2_χ_ˈɑu2_ ɕ_j_ˈɑu2_") == "niχˈɑu ɕjˈɑu"
    assert from_espeak("_(en)_t_ˈiː _v_ˈiː_(ja) n_ˈiː_") == "tˈiː vˈiː nˈiː"
    assert from_espeak("d_ˈɑː_k_t_ɚ | h_ˈuː") == "dˈɑːktɚ hˈuː"
    assert from_espeak("") == from_espeak("_") == ""
