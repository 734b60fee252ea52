"""What people are asked to say."""

from datetime import UTC, datetime

import pytest

from wakeword_core.errors import MissingDependencyError
from wakeword_core.studio import prompts
from wakeword_core.studio.prompts import LONGEST_SECONDS, MANNERS, other_prompts, room_prompts, wake_word_prompts


def test_a_wake_word_is_said_in_each_manner_in_turn() -> None:
    asked = wake_word_prompts("hey robin", 12)
    assert [one.manner for one in asked] == [*MANNERS, *MANNERS[:2]]
    assert {(one.role, one.text, one.label) for one in asked} == {("positive", "hey robin", "hey robin")}
    usual, far = asked[:2]
    assert far.ready_seconds > 3 * usual.ready_seconds and usual.seconds >= 3


def test_a_longer_phrase_gets_more_time_but_never_more_than_a_take_may_have() -> None:
    (short,), (long,) = wake_word_prompts("alexa", 1), wake_word_prompts("a phrase of a good many words " * 2, 1)
    assert short.seconds < long.seconds <= LONGEST_SECONDS
    assert wake_word_prompts("a" * 10_000, 1)[0].seconds == LONGEST_SECONDS


def test_other_things_are_words_and_sentences_without_the_phrase() -> None:
    asked = other_prompts("robin", 30, 0)
    texts = [one.text for one in asked]
    assert len(texts) == len(set(texts)) == 30 and not any("robin" in text.lower() for text in texts)
    assert {(one.role, one.label) for one in asked} == {("negative", "")}
    words = sum(len(text.split()) <= 2 for text in texts)
    assert 10 <= words <= 20
    assert other_prompts("robin", 30, 0) == asked != other_prompts("robin", 30, 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_there_are_as_many_as_were_asked_for(count) -> None:
    assert len(other_prompts("hey robin", count, 3)) == count


def test_without_a_voice_to_read_it_the_phrase_is_known_by_its_letters(monkeypatch) -> None:
    usual = prompts.PhraseGuard

    def only_letters(phrases, *phonemize):
        if not phonemize:
            raise MissingDependencyError("no espeak-ng")
        return usual(phrases, *phonemize)

    monkeypatch.setattr(prompts, "PhraseGuard", only_letters)
    texts = [one.text.lower() for one in other_prompts("water", 400, 0)]
    assert len(texts) == 400 and not any("water" in text.split() for text in texts)


def test_a_room_is_recorded_in_minutes_of_which_neighbours_are_a_group() -> None:
    begun = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
    asked = room_prompts(4.5, begun)
    assert [one.seconds for one in asked] == [60, 60, 60, 60, 30]
    assert [one.group.rpartition(" ")[2] for one in asked] == ["1", "1", "2", "2", "3"]
    assert {(one.role, one.text, one.label) for one in asked} == {("background", "", "")}
    assert asked[0].group == "room 2026-01-31T12-00-05 1"
    assert [one.seconds for one in room_prompts(0.1, begun)] == [6]
    assert [one.seconds for one in room_prompts(0.001, begun)] == [1]
