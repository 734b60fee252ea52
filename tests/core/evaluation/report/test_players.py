"""Players: the very samples of the session, around the event, marked where it is."""

import base64
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wakeword_core.config import FrontendConfig
from wakeword_core.evaluation.report.players import cut, mel_png, moment_excerpts, players, word_excerpts
from wakeword_core.evaluation.streams.build import background_sessions, positive_sessions
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.features.mel import NumpyFrontend

RATE = 16_000
PCM = np.arange(-2 * RATE, 2 * RATE).astype(np.int16)  # every sample tells its place


def decoded(uri, kind):
    head, data = uri.split(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(data))


@settings(deadline=None, max_examples=60)
@given(st.floats(-1, 5), st.floats(0, 2), st.floats(0.5, 10))
def test_an_excerpt_is_as_long_as_asked_and_its_mark_is_the_span(start, length, seconds):
    found = cut(PCM, RATE, start, start + length, seconds)
    assert len(found.pcm) == min(round(seconds * RATE), len(PCM))
    low, high = found.mark
    assert 0 <= low <= high <= len(found.pcm) / RATE
    first = int(found.pcm[0]) - int(PCM[0])
    assert np.array_equal(PCM[first : first + len(found.pcm)], found.pcm)
    if start >= 0 and start + length <= 4 and length <= seconds / 2:
        assert low + first / RATE == pytest.approx(start, abs=1e-6)
        assert high + first / RATE == pytest.approx(start + length, abs=1e-6)


def test_a_word_is_heard_with_the_noise_of_its_condition(shards, config):
    chosen = shards.of("positive")[4]
    heard = {}
    for condition in (Condition(None), Condition(0.0)):
        sessions = list(positive_sessions(shards.folder, config, config.seed, condition))
        heard[condition] = word_excerpts(iter(sessions), [chosen.recording_id], RATE, 1.2)[chosen.recording_id]
        own = next((one, word) for one in sessions for word in one.words if word.recording_id == chosen.recording_id)
        begin = round((own[1].start + own[1].end) / 2 * RATE) - round(1.2 * RATE) // 2
        assert np.array_equal(heard[condition].pcm, own[0].pcm[begin : begin + round(1.2 * RATE)])
    assert heard[Condition(None)].mark == heard[Condition(0.0)].mark
    power = {one: float(np.mean(excerpt.pcm[:2_000].astype(float) ** 2)) for one, excerpt in heard.items()}
    assert power[Condition(0.0)] > 20 * power[Condition(None)]


def test_what_is_not_there_is_not_found(shards, config):
    assert word_excerpts(positive_sessions(shards.folder, config, 0, Condition(None)), ["no such"], RATE, 1.0) == {}
    assert moment_excerpts(background_sessions(shards.folder, config), [("no such", 1.0)], RATE, 1.5, 2.0) == {}


def test_nothing_is_read_when_nothing_is_wanted():
    def never():
        raise AssertionError
        yield

    assert word_excerpts(never(), [], RATE, 1.0) == moment_excerpts(never(), [], RATE, 1.0, 1.0) == {}


@pytest.mark.parametrize("moment", [1.0, 20.0, 39.5])
def test_a_moment_of_a_long_recording_is_found_in_the_session_it_is_in(shards, config, moment):
    """The recording of 40 s goes over several sessions of 15 s."""
    (long,) = shards.of("background")
    found = moment_excerpts(background_sessions(shards.folder, config), [(long.recording_id, moment)], RATE, 0.5, 1.0)
    excerpt = found[long.recording_id, moment]
    middle = round((excerpt.mark[0] + excerpt.mark[1]) / 2 * RATE)
    here = excerpt.pcm[middle - 2_000 : middle + 2_000].astype(float)
    at = round((moment - 0.25) * RATE)
    there = long.audio[at - 2_000 : at + 2_000].astype(float)
    assert np.corrcoef(here, there)[0, 1] > 0.99  # the floor of every stream is on top


def test_players_hold_the_samples_and_a_picture_of_them():
    front_end = NumpyFrontend(FrontendConfig(), RATE)
    noise = np.random.default_rng(3).integers(-2_000, 2_000, 4 * RATE).astype(np.int16)
    loud, quiet = cut(noise, RATE, 1.0, 1.5, 2.0), cut(noise // 200, RATE, 1.0, 1.5, 2.0)
    found = players([loud, None, quiet], front_end, RATE)
    assert found[1] is None
    samples, rate = soundfile.read(decoded(found[0].audio, "audio/flac"), dtype="int16")
    assert rate == RATE and np.array_equal(samples, loud.pcm)
    assert found[0].mark == pytest.approx((0.375, 0.625))
    pictures = [Image.open(decoded(one.picture, "image/png")) for one in (found[0], found[2])]
    assert all(one.size == (front_end(loud.pcm).shape[1], FrontendConfig().n_mels) for one in pictures)
    bright = [np.asarray(one.convert("L")).mean() for one in pictures]
    assert bright[0] > 2 * bright[1], "both have one scale: what is quiet looks quiet"


def test_nothing_to_hear_gives_no_players():
    assert players([None, None], NumpyFrontend(FrontendConfig(), RATE), RATE) == [None, None]


def test_low_frequencies_are_below():
    mel = np.zeros((8, 20), np.float32)
    mel[0] = 1.0
    picture = np.asarray(Image.open(io.BytesIO(mel_png(mel, 0.0, 1.0))).convert("L")).astype(int)
    assert picture[-1].min() > picture[0].max()
