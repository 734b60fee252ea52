import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import DataError
from wakeword_core.speech.pronunciation import phonetics
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard, distance, edit_cost, normalise, unread_letters

SOUNDS = st.text("ptkbdgszmnlɹheiɪəɑuʊ", max_size=8)


def spell(texts, accent="en-us"):
    """A stand-in for an engine: letters are phonemes, and y sounds like i."""
    return [
        " ".join("_".join(filter(str.isalnum, word.lower().replace("y", "i"))) for word in text.split())
        for text in texts
    ]


def test_normalise_leaves_sounds_only():
    assert normalise("h_ˈeɪ ɹ_ˈɑː_b_ɪ_n") == "heɪɹɑbɪn"
    assert normalise("w_ˈɔː_ɾ_ɚ | (en)t̪") == "wɔtəɹt"


@given(SOUNDS, SOUNDS, SOUNDS)
@settings(deadline=None, max_examples=60)
def test_edit_cost_is_a_distance(a, b, c):
    assert edit_cost(a, a) == 0
    assert edit_cost(a, b) == pytest.approx(edit_cost(b, a))
    assert (edit_cost(a, b) == 0) == (a == b)
    # Substitutions alone break the triangle inequality a little; a detour is never free.
    assert edit_cost(a, c) <= 1.5 * (edit_cost(a, b) + edit_cost(b, c)) + 1e-9
    assert 0 <= distance(a, b) <= 1


def test_like_sounds_are_near():
    assert distance("pɪn", "bɪn") < distance("pɪn", "sɪn") < distance("pɪn", "sɑm")
    assert distance("bɪt", "bet") < distance("bɪt", "bɑt")
    assert phonetics.substitution_cost("i", "s") == 1.0


def test_the_guard_hears_spelling_and_sound():
    guard = PhraseGuard(["hey robin"], spell)
    texts = ["Well, hey Robin!", "hei robyn there", "he yrobin", "hey rob", "robin hey", ""]
    assert guard.contains(texts) == [True, True, True, False, False, False]
    assert guard.contains([]) == []
    with pytest.raises(DataError, match="'!!' gives no sound"):
        PhraseGuard(["hey", "!!"], spell)


def test_the_guard_of_several_phrases_hears_each():
    guard = PhraseGuard(["hey robin", "stop"], spell)
    assert guard.contains(["hey robin", "please stop", "stopping", "bus top", "robin"]) == [
        True,
        True,
        True,
        True,
        False,
    ]
    assert guard.is_near("stob") and guard.is_near("heiɹobin") and not guard.is_near("stab")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "café",
            "cafe\u0301",
            "señor Dvořák",
            "straße",
            "cœur",
            "Ørsted",
            "ışık",
            "hey 👍 robin!",
            "№ 5 ½",
            "o’clock",
        ),
        *("R2D2", "hal 9000", "안녕하세요", "नमस्ते", "გამარჯობა", "ʻokina"),
    ],
)
def test_letters_that_the_voices_read_in_their_way_are_not_called_unread(text) -> None:
    assert unread_letters(text) == []


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        *(("привет", "привет"), ("γεια σου", "γειασυ"), ("שלום", "שלום"), ("اهلا", "اهل"), ("తెలుగు", "తలగ")),
        *(("hey小智", "小智"), ("ᏣᎳᎩ", "ᏣᎳᎩ"), ("ＨＥＹ", "ＨＥＹ"), ("ćma", "ć"), ("hey ５", "５")),
    ],
)
def test_letters_that_are_named_or_left_out_are_told(text, letters) -> None:
    assert "".join(unread_letters(text)) == letters
