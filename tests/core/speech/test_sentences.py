import pytest

from wakeword_core.errors import DataError
from wakeword_core.speech.sentences import everyday_sentences, sentences


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
