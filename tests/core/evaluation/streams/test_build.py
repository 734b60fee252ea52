"""Continuous audio: everything once, where it says, as loud as it says."""

from itertools import pairwise

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams import beds, build
from wakeword_core.evaluation.streams.build import CONFUSABLE_ROLES, Rooms, background_sessions, mix, positive_sessions
from wakeword_core.evaluation.streams.conditions import Condition, all_conditions, target_conditions
from wakeword_core.features.materials import generate_rooms

RATE = 16_000


def cut(session, start, end):
    return session.pcm[round(start * RATE) : round(end * RATE)].astype(np.float64)


def ratio_db(mixed, pure):
    """Power of what is left of `pure` in a mixture over the power of the rest."""
    kept = (mixed @ pure) / (pure @ pure) * pure
    return 10 * np.log10((kept**2).mean() / ((mixed - kept) ** 2).mean())


def under_the_word_alone(config):
    """The ratio to the noise under the word, which can be measured there."""
    return config.changed({"evaluation.streams.noise_seconds": 0.0})


def without(mixed, pure):
    """What is left of a mixture when `pure`, however loud it is there, is taken out."""
    return mixed - (mixed @ pure) / (pure @ pure) * pure


def longest_silence(pcm):
    edges = np.flatnonzero(np.diff(np.r_[0, pcm == 0, 0]))
    return max((edges[1::2] - edges[::2]).max(initial=0), 0)


def test_every_positive_once_and_where_it_says(shards, config):
    sessions = list(positive_sessions(shards.folder, config, 1, Condition(None)))
    assert len(sessions) > 1
    spans = [
        (session, span, word) for session in sessions for span, word in zip(session.sources, session.words, strict=True)
    ]
    assert sorted(span.recording_id for _, span, _ in spans) == sorted(
        one.recording_id for one in shards.of("positive")
    )
    for session, span, word in spans:
        heard = cut(session, span.start, span.end)
        original = shards.recordings[span.recording_id].audio
        assert np.abs(heard - original).max() < 150  # the floor is -65 dBFS
        assert word.start - span.start == pytest.approx(0.2) and word.end - span.start == pytest.approx(0.7)
        assert (word.label, word.recording_id, word.source) == ("hey robin", span.recording_id, "source")


def test_pauses_and_limits(shards, config):
    window = config.features.frontend.window_samples / RATE
    for session in [
        *positive_sessions(shards.folder, config, 1, Condition(10.0)),
        *background_sessions(shards.folder, config),
    ]:
        assert session.pcm.dtype == np.int16 and len(session.pcm) / RATE <= 15.001
        assert session.sources[0].start >= window - 1e-9
        assert len(session.pcm) / RATE - session.sources[-1].end == pytest.approx(1.0)
        for one, two in pairwise(session.sources):
            assert two.start - one.end == pytest.approx(1.0)
        assert longest_silence(session.pcm) < 30


def test_the_floor_has_the_level_it_should(shards, config):
    session = next(positive_sessions(shards.folder, config, 1, Condition(None)))
    level = 20 * np.log10(cut(session, 0, 1.5).std() / 32_768)
    assert level == pytest.approx(config.evaluation.streams.floor_dbfs, abs=0.3)


@pytest.mark.parametrize("snr_db", [10.0, 0.0])
def test_noise_has_the_asked_ratio_over_each_word(shards, config, snr_db):
    config = under_the_word_alone(config)
    clean = list(positive_sessions(shards.folder, config, 3, Condition(None)))
    noisy = list(positive_sessions(shards.folder, config, 3, Condition(snr_db)))
    measured = []
    for quiet, loud in zip(clean, noisy, strict=True):
        assert quiet.words == loud.words
        for word in loud.words:
            measured.append(ratio_db(cut(loud, word.start, word.end), cut(quiet, word.start, word.end)))
        beds = [cut(loud, one.end + 0.1, two.start - 0.1).std() for one, two in pairwise(loud.sources)]
        assert min(beds) > 60  # in the pauses too
    assert len(measured) == 11
    assert np.abs(np.array(measured) - snr_db).max() < 0.3


def test_a_silence_between_barks_is_not_raised_until_the_next_bark_drowns_everything():
    """The ratio is to the noise's power over some seconds: here a burst that is silent under the word."""
    word, recording = slice(2 * RATE, 3 * RATE), slice(RATE, 4 * RATE)
    speech, noise = np.zeros(5 * RATE, np.float32), np.full(5 * RATE, 1e-4, np.float32)
    speech[word], noise[3 * RATE : 4 * RATE] = 0.1, 0.1
    gains = [
        mix(speech, noise, [word], [recording], 10.0, 1e-12, round(seconds * RATE))[3 * RATE + 10] / 0.1
        for seconds in (0, 5)
    ]
    assert gains[1] == pytest.approx((0.01 / (0.01 / 5) / 10) ** 0.5, rel=1e-3)
    assert gains[0] > 5 * gains[1]


def test_noise_is_of_the_same_split_and_cycled(shards, config, monkeypatch):
    asked = []

    def spy(folder, roles=None):
        asked.append(tuple(roles))
        return original(folder, roles)

    original = build.iter_recordings
    for module in (build, beds):
        monkeypatch.setattr(module, "iter_recordings", spy)
    assert sum(len(one.pcm) for one in positive_sessions(shards.folder, config, 1, Condition(5.0))) / RATE > 20
    assert set(asked) == {("positive",), ("noise",)} and asked.count(("noise",)) >= 3


def test_same_seed_same_samples(shards, config):
    first, again, other = (
        np.concatenate([one.pcm for one in positive_sessions(shards.folder, config, seed, Condition(5.0))])
        for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def test_phrases_that_sound_alike_are_streams_of_their_own(shards, config):
    found = {
        span.recording_id
        for one in background_sessions(shards.folder, config, CONFUSABLE_ROLES)
        for span in one.sources
    }
    assert found == {one.recording_id for one in shards.of("hard_negative")} and len(found) == 3


def test_background_is_everything_else_each_second_once(shards, config):
    heard = {}
    for session in background_sessions(shards.folder, config):
        assert session.words == []
        for span in session.sources:
            heard.setdefault(span.recording_id, []).append((span.offset, cut(session, span.start, span.end)))
    expected = shards.of("negative", "background", "noise")
    assert set(heard) == {one.recording_id for one in expected}
    for one in expected:
        parts = sorted(heard[one.recording_id], key=lambda part: part[0])
        assert [round(offset * RATE) for offset, _ in parts] == [
            sum(len(part) for _, part in parts[:index]) for index in range(len(parts))
        ]
        assert np.abs(np.concatenate([part for _, part in parts]) - one.audio).max() < 150
    assert max(len(parts) for parts in heard.values()) == 4  # 40 s in sessions of 15 s


def test_a_continued_recording_is_heard_from_a_window_before(shards, config):
    window = config.features.frontend.window_samples
    checked = 0
    for session in background_sessions(shards.folder, config):
        span = session.sources[0]
        if span.offset:
            start, offset = round(span.start * RATE), round(span.offset * RATE)
            before = shards.recordings[span.recording_id].audio[offset - window : offset]
            assert np.abs(session.pcm[start - window : start].astype(float) - before).max() < 150
            checked += 1
    assert checked == 3


def test_loud_mixtures_keep_their_ratio_instead_of_clipping(config, tmp_path, pack_shards, make_sound):
    random = np.random.default_rng(0)
    word = {"audio": make_sound(random, 1.0, 0.25), "role": "positive", "label": "hey robin", "speech": (0.1, 0.9)}
    loud = pack_shards(tmp_path, [word, {"audio": make_sound(random, 3.0, 0.1), "role": "noise"}])
    clean = next(positive_sessions(loud.folder, config, 1, Condition(None)))
    noisy = next(positive_sessions(loud.folder, config, 1, Condition(0.0)))
    span = clean.words[0]
    mixed, pure = cut(noisy, span.start, span.end), cut(clean, span.start, span.end)
    assert np.abs(mixed).max() <= 32_767
    assert (mixed @ pure) / (pure @ pure) < 0.95
    assert ratio_db(mixed, pure) == pytest.approx(0.0, abs=0.3)


def test_without_noise_the_next_best_is_used_and_silence_is_refused(config, tmp_path, pack_shards, make_sound):
    random = np.random.default_rng(0)
    word = {"audio": make_sound(random, 1.0), "role": "positive", "label": "hey robin"}
    dead = {"audio": np.zeros(RATE), "role": "noise"}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    talk = pack_shards(tmp_path / "a", [word, dead, {"audio": make_sound(random, 2.0), "role": "negative"}])
    session = next(positive_sessions(talk.folder, config, 1, Condition(10.0)))
    assert cut(session, 0.5, 1.5).std() > 300
    assert session.words[0].end - session.words[0].start == pytest.approx(1.0)  # no voice activity known: all of it
    silent = pack_shards(tmp_path / "b", [word, dead])
    with pytest.raises(DataError, match="no noise"):
        next(positive_sessions(silent.folder, config, 1, Condition(10.0)))


def test_too_short_sessions_are_refused(shards):
    short = Config.model_validate({"evaluation": {"streams": {"session_minutes": 0.05}}})
    with pytest.raises(DataError, match="session_minutes"):
        next(background_sessions(shards.folder, short))


def test_conditions_have_names_and_an_order():
    config = Config.model_validate(
        {
            "evaluation": {
                "conditions": {"test": {"snr_db": [0, None], "far_snr_db": [10, None]}, "tuning": {"snr_db": [5, None]}}
            }
        }
    )
    assert [one.name for one in all_conditions(config.evaluation.conditions)] == [
        "clean",
        "5 dB",
        "0 dB",
        "far",
        "far, 10 dB",
    ]
    assert target_conditions(config.evaluation.conditions) == (Condition(None), Condition(5.0))


def test_a_room_delays_nothing_and_keeps_the_words_level(shards, config):
    near = list(positive_sessions(shards.folder, config, 3, Condition(None)))
    far = list(positive_sessions(shards.folder, config, 3, Condition(None, far=True)))
    tails = []
    for dry, wet in zip(near, far, strict=True):
        assert dry.words == wet.words and dry.sources == wet.sources and len(dry.pcm) == len(wet.pcm)
        for word, span in zip(dry.words, dry.sources, strict=True):
            clean, heard = cut(dry, word.start, word.end), cut(wet, word.start, word.end)
            assert (heard**2).mean() == pytest.approx((clean**2).mean(), rel=0.05)
            share = (heard @ clean) / np.sqrt((heard @ heard) * (clean @ clean))
            assert 0.3 < share < 0.999  # the direct sound lies where it lay, and there is more than that
            tails.append(cut(wet, word.end + 0.05, span.end).std() / cut(dry, word.end + 0.05, span.end).std())
    assert len(tails) == 11 and np.median(tails) > 1.2


def test_far_noise_is_not_reverberated_and_has_the_ratio(shards, config):
    """Near or far, the same bed lies under the same word, only as much louder or fainter as the word is."""
    config = under_the_word_alone(config)
    wet = list(positive_sessions(shards.folder, config, 3, Condition(None, far=True)))
    noisy = list(positive_sessions(shards.folder, config, 3, Condition(0.0, far=True)))
    dry = list(positive_sessions(shards.folder, config, 3, Condition(None)))
    near = list(positive_sessions(shards.folder, config, 3, Condition(0.0)))
    for sessions in zip(wet, noisy, dry, near, strict=True):
        for word in sessions[0].words:
            far_clean, far_noisy, near_clean, near_noisy = (cut(one, word.start, word.end) for one in sessions)
            assert ratio_db(far_noisy, far_clean) == pytest.approx(0.0, abs=0.6)
            beds = without(far_noisy, far_clean), without(near_noisy, near_clean)
            assert beds[0] @ beds[1] / np.sqrt((beds[0] @ beds[0]) * (beds[1] @ beds[1])) > 0.98


def test_rooms_are_the_splits_own_or_else_generated_and_never_trainings(config, tmp_path, pack_shards, make_sound):
    random = np.random.default_rng(0)
    word = {"audio": make_sound(random, 1.0), "role": "positive", "label": "hey robin", "speech": (0.1, 0.4)}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    late = np.zeros(RATE // 2)
    late[1_000], late[3_000] = 0.9, 0.6  # the direct sound after some quiet, and one echo 2,000 samples later
    recorded = pack_shards(tmp_path / "a", [word, {"audio": late, "role": "rir"}])
    far = next(positive_sessions(recorded.folder, config, 1, Condition(None, far=True)))
    dry = next(positive_sessions(recorded.folder, config, 1, Condition(None)))
    span = dry.sources[0]
    heard, sound = (cut(one, span.start, span.end) for one in (far, dry))
    echo = np.concatenate([np.zeros(2_000), sound[:-2_000]])
    expected = 0.9 * sound + 0.6 * echo
    assert (heard @ expected) / np.sqrt((heard @ heard) * (expected @ expected)) > 0.99

    bare = pack_shards(tmp_path / "b", [word])
    first, again, other = (
        next(positive_sessions(bare.folder, one, 1, Condition(None, far=True))).pcm
        for one in (config, config, config.model_copy(update={"seed": 2}))
    )
    assert (first == again).all() and (first != other).any()
    trainings = generate_rooms(32, config.evaluation.conditions.test.far_rt60_seconds, RATE, config.seed)
    rooms = Rooms(bare.folder, config.evaluation.conditions.test, RATE, config.seed, np.random.default_rng(0))
    click = np.zeros(RATE, dtype=np.float32)
    click[0] = 1.0
    responses = np.stack([rooms.across(click, slice(0, 1))[: trainings.shape[1]] for _ in range(20)])
    responses /= np.linalg.norm(responses, axis=1, keepdims=True)
    tails = [one[:, 1:] / np.linalg.norm(one[:, 1:], axis=1, keepdims=True) for one in (responses, trainings)]
    assert np.abs(tails[0] @ tails[1].T).max() < 0.9


def test_words_know_their_speaker_and_where_their_recording_begins(shards, config):
    for session in positive_sessions(shards.folder, config, 1, Condition(None)):
        for word, span in zip(session.words, session.sources, strict=True):
            assert word.begin == span.start and word.speaker == shards.recordings[word.recording_id].speaker
