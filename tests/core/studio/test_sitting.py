"""A sitting: prompts in turn, each until it came through."""

import numpy as np
import pytest
from spoken import RATE, take

from wakeword_core.errors import ConfigError
from wakeword_core.studio import folder as folder_module
from wakeword_core.studio.prompts import Prompt
from wakeword_core.studio.sitting import record, speaker_name


def test_what_has_a_fault_is_asked_for_again_and_what_has_none_is_kept(plan, folder) -> None:
    sitting = plan().begin("Anna")
    assert sitting.offer(take()).fault == "quiet"
    assert sitting.place == 0 and folder.rows() == []
    assert sitting.offer(take(1.0)).fault is None
    assert sitting.place == 1 and [row["speaker"] for row in folder.rows()] == ["Anna"]
    assert sitting.offer(take(0.9)).fault is None and sitting.prompt is None
    with pytest.raises(ConfigError, match="everything was recorded"):
        sitting.offer(take(1.0))
    assert [one.path for one in sitting.kept] == [row["path"] for row in folder.rows()]


def test_one_that_is_skipped_is_not_asked_for_again(plan, folder) -> None:
    sitting = plan().begin("Anna")
    sitting.skip()
    assert sitting.place == 1
    sitting.skip()
    sitting.skip()
    assert sitting.prompt is None and sitting.place == 2 and folder.rows() == []


def test_the_last_one_can_be_taken_back_and_is_asked_for_again(plan, folder) -> None:
    sitting = plan(count=3).begin("Anna")
    assert not sitting.take_back()
    sitting.offer(take(1.0))
    sitting.skip()
    assert sitting.take_back() and sitting.place == 0
    assert folder.rows() == [] and list(folder.folder.rglob("*.flac")) == [] and not sitting.take_back()


def test_what_could_not_be_taken_back_can_be_once_there_is_room(plan, folder, monkeypatch) -> None:
    sitting = plan().begin("Anna")
    for _ in range(2):
        sitting.offer(take(1.0))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(folder_module, "write_text", full)
        sitting.take_back()
    assert sitting.take_back() and sitting.place == 1
    assert [one.path for one in sitting.kept] == [row["path"] for row in folder.rows()]


def test_words_other_things_and_the_room_follow_each_other(plan, folder) -> None:
    sitting = plan(count=1, negatives=2, room_minutes=0.05).begin("Anna")
    assert [one.role for one in sitting.prompts] == ["positive", "negative", "negative", "background"]
    for pcm in (take(1.0), take(0.4, 2.0, seconds=4.0), take(1.0), take()):
        assert sitting.offer(pcm).fault is None
    rows = folder.rows()
    assert [row["role"] for row in rows] == ["positive", "negative", "negative", "background"]
    assert [row["label"] for row in rows] == ["hey robin", "", "", ""]
    assert len({row["speaker"] for row in rows[:3]}) == 1 and rows[3]["speaker"].startswith("room ")


def test_a_second_sitting_asks_for_other_things(plan) -> None:
    first = plan(count=0, negatives=3).begin("Anna")
    first.offer(take(1.0))
    second = plan(count=0, negatives=3).begin("Anna")
    assert {one.text for one in first.prompts} != {one.text for one in second.prompts}


def test_the_consent_names_who_gives_it_what_for_and_under_which_licence(plan, folder) -> None:
    private = plan().consent_to("Anna")
    assert "Anna" in private and "not published" in private and "room" not in private
    assert "under the licence CC0-1.0" in plan(licence="CC0-1.0").consent_to("Anna")
    assert "Everybody who can be heard" in plan(room_minutes=1).consent_to("Anna")
    plan().begin("Anna").offer(take(1.0))
    assert folder.rows()[0]["consent"] == private and folder.rows()[0]["consented"]


@pytest.mark.parametrize("licence", ["", " ", "CC0\n", "a\u202eb"])
def test_a_licence_that_no_table_can_hold_is_refused(plan, licence) -> None:
    with pytest.raises(ConfigError, match="the licence is"):
        plan(licence=licence)


@pytest.mark.parametrize("size", [100, 1_280, 16_000, 100_000])
def test_a_take_is_what_comes_after_the_time_to_get_ready(size) -> None:
    prompt = Prompt("positive", "hey robin", "", seconds=3.0, ready_seconds=1.5)
    heard = (np.arange(10 * RATE) % 30_000).astype(np.int16)
    moments = []
    blocks = iter(np.split(heard, range(size, len(heard), size)))
    pcm = record(blocks, RATE, prompt, moments.append)
    np.testing.assert_array_equal(pcm, heard[round(1.5 * RATE) : round(4.5 * RATE)])
    assert moments[-1].recording and moments[-1].seconds_left == 0
    if size < RATE:
        assert not moments[0].recording and 1.4 < moments[0].seconds_left < 1.5
        assert [one.recording for one in moments] == sorted(one.recording for one in moments)
        assert next(blocks) is not None, "no more is taken from the microphone than is needed"


def test_a_microphone_that_ends_gives_what_there_was() -> None:
    prompt = Prompt("positive", "hey robin", "", seconds=3.0, ready_seconds=1.0)
    assert len(record(iter([np.ones(2 * RATE, np.int16)]), RATE, prompt, lambda moment: None)) == RATE
    assert len(record(iter([]), RATE, prompt, lambda moment: None)) == 0


@pytest.mark.parametrize(("given", "name"), [(" Anna  Lisa ", "Anna Lisa"), ("李", "李"), ("a\u0308", "ä")])
def test_a_name_is_written_in_one_way(given, name) -> None:
    assert speaker_name(given) == name


@pytest.mark.parametrize("given", ["", "  ", "...", "x" * 61, "a\u202eb", "a\x1b[31m", "room\x00"])
def test_a_name_that_nobody_could_read_is_refused(given) -> None:
    with pytest.raises(ConfigError, match="must be a name"):
        speaker_name(given)
