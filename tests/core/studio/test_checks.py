"""Whether a take came through, by what the detector hears in it and by its samples."""

import numpy as np
import pytest
from spoken import RATE, take, voice

from wakeword_core.audio import to_pcm16
from wakeword_core.studio.checks import SENTENCES, fault_of, level_dbfs

LENGTH = len(voice()) / RATE


@pytest.mark.parametrize("start", [0.3, 1.0, 3.0 - LENGTH - 0.4])
def test_what_is_said_between_the_ends_is_fine(hearing, start) -> None:
    heard = hearing.utterance(take(start), RATE, word=True)
    assert heard.fault is None and heard.sentence == ""
    assert heard.speech_seconds == pytest.approx(LENGTH, abs=0.2) and heard.peak_dbfs == pytest.approx(-8, abs=0.5)


@pytest.mark.parametrize(
    ("fault", "pcm"),
    [
        ("silent", np.zeros(3 * RATE, np.int16)),
        ("silent", np.full(3 * RATE, 7, np.int16)),
        ("silent", np.empty(0, np.int16)),
        ("quiet", take(1.0, gain=0.01)),
        ("quiet", take()),
        ("no speech", take(level=0.1)),
        ("clipped", take(1.0, gain=6)),
        ("drowned", take(1.0, level=0.06)),
        ("late start", take(-0.25)),
        ("early end", take(3.0 - 0.6 * LENGTH)),
        ("twice", take(0.4, 0.4 + LENGTH + 0.5)),
        ("long", take(0.4, 0.4 + LENGTH + 0.15)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_in_a_sentence(hearing, fault, pcm) -> None:
    heard = hearing.utterance(pcm, RATE, word=True)
    assert heard.fault == fault
    assert heard.sentence == SENTENCES[fault] and heard.sentence.endswith((".", "?"))


def test_softly_spoken_words_and_a_noisy_room_are_fine(hearing) -> None:
    assert hearing.utterance(take(1.0, gain=0.1, level=2e-4), RATE, word=True).fault is None
    assert hearing.utterance(take(1.0, level=0.01), RATE, word=True).fault is None


def test_sentences_may_have_pauses_and_take_their_time(hearing) -> None:
    pcm = take(0.4, 0.4 + LENGTH + 0.6, seconds=4.0)
    assert hearing.utterance(pcm, RATE, word=True).fault == "twice"
    assert hearing.utterance(pcm, RATE, word=False).fault is None


def test_other_rates_are_heard_as_well(hearing) -> None:
    pcm = np.repeat(take(1.0), 3)
    assert hearing.utterance(pcm, 3 * RATE, word=True).fault is None


def test_a_room_may_be_quiet_and_hold_speech_but_not_nothing(hearing) -> None:
    assert hearing.room(take(level=1e-4)).fault is None
    assert hearing.room(take(0.0, 1.0)).fault is None
    assert hearing.room(np.zeros(RATE, np.int16)).fault == "silent"
    assert hearing.room(take(0.0, 1.0, 2.0, gain=9)).fault == "clipped"


def tone(level=0.3, seconds=3.0):
    return to_pcm16(level * np.sin(np.arange(round(seconds * RATE)) * 0.2))


@pytest.mark.parametrize(
    ("runs", "longest", "fault"),
    [
        ([(0.13, 1.0)], 1.5, None),
        ([(0.11, 1.0)], 1.5, "late start"),
        ([(1.0, 2.87)], 2.0, None),
        ([(1.0, 2.89)], 2.0, "early end"),
        ([(1.0, 1.5), (1.79, 2.2)], 1.5, None),
        ([(1.0, 1.5), (1.81, 2.2)], 1.5, "twice"),
        ([(1.0, 1.5), (1.81, 2.2)], None, None),
        ([(1.0, 2.4)], 1.5, None),
        ([(1.0, 2.6)], 1.5, "long"),
        ([(1.0, 2.6)], None, None),
        ([], 1.5, "no speech"),
    ],
)
def test_edges_pauses_and_lengths_have_limits(runs, longest, fault) -> None:
    pcm = tone(0.01)
    for start, end in runs:
        pcm[round(start * RATE) : round(end * RATE)] = tone()[round(start * RATE) : round(end * RATE)]
    pcm = pcm if runs else tone()
    assert fault_of(pcm, RATE, runs, longest) == fault


@pytest.mark.parametrize(("count", "fault"), [(10, None), (17, "clipped")])
def test_a_few_samples_at_full_scale_are_a_plosive(count, fault) -> None:
    pcm = tone(0.01)
    pcm[RATE : 2 * RATE] = tone()[RATE : 2 * RATE]
    pcm[RATE + 500 : RATE + 500 + count] = -32_768
    assert fault_of(pcm, RATE, [(1.0, 2.0)], 1.5) == fault


@pytest.mark.parametrize(("sample", "level"), [(0, -100), (32_767, 0), (-32_768, 0), (3_277, -20)])
def test_levels_are_those_of_the_loudest_sample(sample, level) -> None:
    assert level_dbfs(np.array([0, sample, 0], np.int16)) == pytest.approx(level, abs=0.01)
    assert level_dbfs(np.empty(0, np.int16)) == -100
