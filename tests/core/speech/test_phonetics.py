import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import DataError
from wakeword_core.speech import phonetics
from wakeword_core.speech.phonetics import (
    KINDS,
    PhraseGuard,
    confusable_phrases,
    distance,
    edit_cost,
    normalise,
    unread_letters,
)

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
    guard = PhraseGuard("hey robin", spell)
    texts = ["Well, hey Robin!", "hei robyn there", "he yrobin", "hey rob", "robin hey", ""]
    assert guard.contains(texts) == [True, True, True, False, False, False]
    assert guard.contains([]) == []
    with pytest.raises(DataError, match="'!!' gives no sound"):
        PhraseGuard("!!", spell)


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


@pytest.mark.parametrize(
    "phrase", ["hey robin", "alexa", "hal 9000", "o'clock", "ok google play music", "你好", "naïve x"]
)
def test_confusables_never_are_the_phrase(phrase):
    found = confusable_phrases(phrase, 60, 1, spell)
    texts = [item.text for item in found]
    assert len(texts) == len(set(texts)) == 60
    assert not any(PhraseGuard(phrase, spell).contains(texts))
    assert all(item.distance > 0 and item.kind in KINDS for item in found)


def test_confusables_of_each_kind():
    found = confusable_phrases("hey robin", 200, 1, spell)
    texts = {kind: {item.text for item in found if item.kind == kind} for kind in KINDS}
    assert texts["part"] == {"hey", "robin"}
    assert texts["swap"] == {"robin hey"}
    assert {"hey rob", "hey bin"} <= texts["cut"]
    assert "hey dobin" in texts["rhyme"]
    assert "hey cabin" in texts["near"]
    near = [item for item in found if item.kind == "near"]
    first, last = near[: len(near) // 4], near[-len(near) // 4 :]
    assert np.mean([item.distance for item in first]) < np.mean([item.distance for item in last])


def test_confusables_follow_the_seed_and_the_count():
    assert confusable_phrases("hey robin", 40, 3, spell) == confusable_phrases("hey robin", 40, 3, spell)
    assert confusable_phrases("hey robin", 40, 3, spell) != confusable_phrases("hey robin", 40, 4, spell)
    assert confusable_phrases("hey robin", 0, 3, spell) == []


@given(st.text(min_size=1, max_size=24))
@settings(deadline=None, max_examples=25)
def test_any_text_is_refused_or_answered(phrase):
    if not normalise(spell([phrase])[0]):
        with pytest.raises(DataError):
            confusable_phrases(phrase, 5, 1, spell)
    else:
        texts = [item.text for item in confusable_phrases(phrase, 5, 1, spell)]
        assert not any(PhraseGuard(phrase, spell).contains(texts))


def test_ways_of_saying_the_phrase_itself_are_left_out():
    pytest.importorskip("espeakng_loader")
    texts = {item.text for item in confusable_phrases("hey robin", 600, 1)}
    assert not {"hey robbing", "hay robin", "hey wobin"} & texts
    assert {"hey rabbit", "hey rob", "hey robot"} & texts
    assert not any(text.startswith("komp") for text in (item.text for item in confusable_phrases("computer", 200, 1)))
    for odd in ("hal 9000", "你好", "naïve o'clock", "no"):
        assert confusable_phrases(odd, 10, 1)


def test_draw_takes_kinds_and_texts_in_turn():
    found = confusable_phrases("hey robin", 100, 1, spell)
    drawn = phonetics.draw(found, 120, np.random.default_rng(1))
    assert len(drawn) == 120 and set(drawn) <= {item.text for item in found}
    assert drawn.count("robin hey") == 20 and drawn.count("hey") == 10
    assert phonetics.draw([], 5, np.random.default_rng(1)) == []


def test_the_word_list_is_large_and_clean():
    words = phonetics.common_words()
    assert len(words) == len(set(words)) >= 400
    assert all(word.isalpha() and word.islower() for word in words)
