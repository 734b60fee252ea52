import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.speech.cutting import Cut, piece

RATE = 16_000


def tone(seconds, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * 200 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@given(st.sampled_from(["beginning", "end"]), st.floats(0.3, 0.8), st.integers(160, RATE), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_piece_is_within_the_limits_and_begins_or_ends_as_the_phrase(side, share, length, seed):
    speech = np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)
    cut = piece(speech, RATE, Cut(side, share, 0.3, 0.8))
    assert round(0.3 * length) - 1 <= len(cut) <= round(0.8 * length) + 1 < length
    whole, fade = (
        (speech[: len(cut)], slice(-160, None)) if side == "beginning" else (speech[-len(cut) :], slice(0, 160))
    )
    kept = np.ones(len(cut), bool)
    kept[fade] = False
    np.testing.assert_array_equal(cut[kept], whole[kept])
    assert (np.abs(cut[fade]) <= np.abs(whole[fade])).all()
    edge, whole_edge = (cut[-1], whole[-1]) if side == "beginning" else (cut[0], whole[0])
    assert abs(edge) <= 0.05 * abs(whole_edge)


@pytest.mark.parametrize("side", ["beginning", "end"])
def test_it_is_cut_where_it_is_quiet(side):
    speech = np.concatenate([tone(0.44), tone(0.04, 0.001), tone(0.52)])
    cut = piece(speech, RATE, Cut(side, 0.5))
    kept = len(cut) / RATE
    assert 0.44 <= (kept if side == "beginning" else 1 - kept) <= 0.48


def test_the_phrase_itself_is_left_alone():
    speech = tone(0.5)
    before = speech.copy()
    piece(speech, RATE, Cut("beginning", 0.5))
    piece(speech, RATE, Cut("end", 0.5))
    np.testing.assert_array_equal(speech, before)


def test_a_few_samples_are_cut_too():
    assert len(piece(np.ones(3, np.float32), RATE, Cut("beginning", 0.5))) < 3
    assert len(piece(np.ones(1, np.float32), RATE, Cut("end", 0.5))) <= 1
