from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import DataError
from wakeword_core.speech.pronunciation.phonetics import PhraseGuard, normalise
from wakeword_core.speech.texts import confusables
from wakeword_core.speech.texts.confusables import KINDS, confusable_phrases, draw


def spell(texts, accent="en-us"):
    """A stand-in for an engine: letters are phonemes, and y sounds like i."""
    return [
        " ".join("_".join(filter(str.isalnum, word.lower().replace("y", "i"))) for word in text.split())
        for text in texts
    ]


def of(phrase, count, seed=1, *others):
    return confusable_phrases(phrase, count, seed, PhraseGuard([phrase, *others], spell), spell)


@contextmanager
def few_words():
    """A short vocabulary, in which any phrase has its neighbours at once."""
    words = ["rob", "robert", "ruben", "robbing", "cabin", "hat", "hay", "hello", "stop", "stamp", "computer", "a"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusables, "vocabulary", lambda: words)
        for cached in (confusables._vocabulary_sounds, confusables._ranked):
            patch.setattr(confusables, cached.__name__, cached.__wrapped__)
        yield


@pytest.mark.parametrize(
    "phrase", ["hey robin", "alexa", "hal 9000", "o'clock", "ok google play music", "你好", "naïve x", "x"]
)
def test_confusables_never_are_the_phrase(phrase):
    found = of(phrase, 60)
    texts = [item.text for item in found]
    assert len(texts) == len(set(texts)) == 60
    assert not any(PhraseGuard([phrase], spell).contains(texts))
    assert all(item.distance > 0 and item.kind in KINDS for item in found)


def test_confusables_of_each_kind():
    found = of("hey robin", 400)
    texts = {kind: {item.text for item in found if item.kind == kind} for kind in KINDS}
    assert texts["part"] == {"hey", "robin"}
    assert texts["swap"] == {"robin hey"}
    assert {"hey rob", "hey bin"} <= texts["cut"]
    assert "hey dobin" in texts["rhyme"]
    assert {"hey robert", "hey roberta"} <= texts["start"]
    assert "hey cabin" in texts["near"]
    near = [item for item in found if item.kind == "near"]
    first, last = near[: len(near) // 4], near[-len(near) // 4 :]
    assert np.mean([item.distance for item in first]) < np.mean([item.distance for item in last])


def test_the_longer_a_word_the_more_of_the_neighbours_replace_it():
    near = [item.text for item in of("a computer", 200) if item.kind == "near"]
    replaced = Counter("second" if text.startswith("a ") else "first" for text in near)
    assert replaced["second"] > 2 * replaced["first"] > 0


def test_nothing_that_has_another_phrase_in_it_or_is_how_some_say_it():
    with few_words():
        assert "hey robert" in {item.text for item in of("hey robin", 400)}
        texts = [item.text for item in of("hey robin", 400, 1, "robert", "hello")]
    assert texts and not any("robert" in text or "hello" in text for text in texts)
    assert "hey stob" not in texts and "hey rubin" not in texts


def test_confusables_follow_the_seed_and_a_longer_list_begins_with_the_shorter():
    assert of("hey robin", 40, 3) == of("hey robin", 40, 3)
    assert of("hey robin", 40, 3) != of("hey robin", 40, 4)
    assert of("hey robin", 40, 3) == of("hey robin", 400, 3)[:40]
    assert of("hey robin", 0, 3) == []


@given(st.text(min_size=1, max_size=24), st.text("abcdefghijklmnopqrstuvwxyz ", min_size=1, max_size=12))
@settings(deadline=None, max_examples=25)
def test_any_text_is_refused_or_answered(phrase, other):
    try:
        guard = PhraseGuard([phrase, other], spell)
    except DataError:
        assert not all(normalise(spell([text])[0]) for text in (phrase, other))
        return
    with few_words():
        texts = [item.text for item in confusable_phrases(phrase, 50, 1, guard, spell)]
    assert not any(guard.contains(texts))


def test_forty_words_have_some_of_each_kind():
    with few_words():
        found = of(" ".join(f"{letter}o{other}" for letter in "bdfgklmn" for other in "bdgkm"), 10_000)
    assert 500 < len(found) < 10_000
    assert {item.kind for item in found} >= {"part", "swap", "cut", "near"}


@pytest.mark.parametrize(
    ("phrase", "named"),
    [
        ("hey robin", "hey robert, hey robbie, hey robot, hey rob, hey reuben, hey rabbit, robin, hey"),
        ("computer", "commuter, compute, composer"),
        ("alexa", "alexis, alexia, electra, alex"),
        ("jarvis", "travis, marvin, harvest, service, jar"),
        ("okay nabu", "okay nab, okay bob, okay, nabu, obey nabu"),
    ],
)
def test_what_a_person_would_name_is_among_the_first(phrase, named):
    pytest.importorskip("espeakng_loader")
    texts = {item.text for item in confusable_phrases(phrase, 150, 1, PhraseGuard([phrase]))}
    assert set(named.split(", ")) <= texts


def test_ways_of_saying_the_phrase_itself_are_left_out():
    pytest.importorskip("espeakng_loader")
    texts = {item.text for item in confusable_phrases("hey robin", 600, 1, PhraseGuard(["hey robin"]))}
    assert not {"hey robbing", "hay robin", "hey wobin", "hey robins"} & texts
    texts = {item.text for item in confusable_phrases("computer", 200, 1, PhraseGuard(["computer"]))}
    assert not any(text.startswith("komp") or text == "computers" for text in texts)
    for odd in ("hal 9000", "你好", "naïve o'clock", "no"):
        assert confusable_phrases(odd, 10, 1, PhraseGuard([odd]))


def test_draw_takes_kinds_and_texts_in_turn():
    found = of("hey robin", 1_000)
    drawn = draw(found, 600, 1)
    assert len(drawn) == 600 and set(drawn) <= {item.text for item in found}
    counts = Counter(drawn)
    assert counts["robin hey"] == 8 and counts["hey"] + counts["robin"] == 16, "a small kind leaves its turns to others"
    kinds = Counter({item.text: item.kind for item in found}[text] for text in drawn)
    assert kinds["near"] > kinds["start"] > kinds["cut"] > kinds["swap"]
    assert 100 < len(counts) < 250, "several recordings of each"
    assert draw([], 5, 1) == []


def test_more_texts_begin_with_the_same_and_few_are_said_as_often_as_it_takes():
    found = of("hey robin", 1_000)
    assert draw(found, 100, 1) == draw(found, 900, 1)[:100] != draw(found, 100, 2)
    few = [item for item in found if item.kind == "swap"]
    assert draw(few, 50, 1) == ["robin hey"] * 50


def test_the_vocabulary_is_large_and_clean():
    words = confusables.vocabulary()
    assert len(words) == len(set(words)) >= 6_000
    assert all(word.isalpha() and word.isascii() and word.islower() for word in words)
    assert {"robert", "robbie", "ruben", "commuter", "alexia"} <= set(words)
