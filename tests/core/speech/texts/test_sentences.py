import pytest

from wakeword_core.errors import DataError
from wakeword_core.speech.texts.sentences import around_a_phrase, everyday_sentences, sentences


class Refuses:
    def __init__(self, word):
        self.word = word

    def contains(self, texts):
        return [self.word in text.lower() for text in texts]


def test_shipped_sentences_are_many_and_different():
    shipped = everyday_sentences()
    assert len(set(shipped)) == len(shipped) >= 150
    assert all(text[-1] in ".!?" for text in shipped)


def test_thousands_of_different_sentences_all_filled_in():
    made = sentences(4_000, 1, Refuses("zzz"))
    assert len(set(made)) == 4_000
    assert not any("{" in text or "}" in text for text in made)
    assert set(everyday_sentences()) <= set(made)


def test_the_guard_decides():
    made = sentences(500, 1, Refuses("hey"))
    assert not any("hey" in text.lower() for text in made)
    assert any("hey" in text.lower() for text in sentences(500, 1, Refuses("zzz")))


def test_seed_and_prefix():
    assert sentences(50, 1, Refuses("q")) == sentences(200, 1, Refuses("q"))[:50]
    assert sentences(50, 1, Refuses("q")) != sentences(50, 2, Refuses("q"))
    assert sentences(0, 1, Refuses("q")) == []


def test_a_guard_that_refuses_everything_is_reported():
    with pytest.raises(DataError, match="only 0 of 10"):
        sentences(10, 1, Refuses(""))


def test_what_is_said_around_a_phrase_is_many_texts_without_it():
    before, after = around_a_phrase(200, 1, Refuses("lights"))
    assert len(set(before)) == len(before) >= 15 and len(set(after)) == len(after) > 60
    assert "I said" in before and not any("lights" in text or "{" in text for text in (*before, *after))
    assert around_a_phrase(200, 1, Refuses("lights")) == (before, after) != around_a_phrase(200, 2, Refuses("lights"))
    with pytest.raises(DataError, match=r"set synthesis\.carrier_share to 0"):
        around_a_phrase(20, 1, Refuses(""))
