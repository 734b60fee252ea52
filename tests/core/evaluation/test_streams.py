"""Continuous audio: everything once, where it says, as loud as it says."""

from itertools import pairwise

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.evaluation import streams
from wakeword_core.evaluation.streams import CONFUSABLE_ROLES, background_sessions, positive_sessions

RATE = 16_000


def cut(session, start, end):
    return session.pcm[round(start * RATE) : round(end * RATE)].astype(np.float64)


def ratio_db(mixed, pure):
    """Power of what is left of `pure` in a mixture over the power of the rest."""
    kept = (mixed @ pure) / (pure @ pure) * pure
    return 10 * np.log10((kept**2).mean() / ((mixed - kept) ** 2).mean())


def longest_silence(pcm):
    edges = np.flatnonzero(np.diff(np.r_[0, pcm == 0, 0]))
    return max((edges[1::2] - edges[::2]).max(initial=0), 0)


def test_every_positive_once_and_where_it_says(shards, config):
    sessions = list(positive_sessions(shards.folder, config, 1, None))
    assert len(sessions) > 1
    spans = [
        (session, span, word) for session in sessions for span, word in zip(session.sources, session.words, strict=True)
    ]
    assert sorted(span.id for _, span, _ in spans) == sorted(one.id for one in shards.of("positive"))
    for session, span, word in spans:
        heard = cut(session, span.start, span.end)
        original = shards.recordings[span.id].audio
        assert np.abs(heard - original).max() < 150  # the floor is -65 dBFS
        assert word.start - span.start == pytest.approx(0.2) and word.end - span.start == pytest.approx(0.7)
        assert (word.label, word.id, word.source) == ("hey robin", span.id, "source")


def test_pauses_and_limits(shards, config):
    window = config.features.frontend.window_samples / RATE
    for session in [*positive_sessions(shards.folder, config, 1, 10.0), *background_sessions(shards.folder, config)]:
        assert session.pcm.dtype == np.int16 and len(session.pcm) / RATE <= 15.001
        assert session.sources[0].start >= window - 1e-9
        assert len(session.pcm) / RATE - session.sources[-1].end == pytest.approx(1.0)
        for one, two in pairwise(session.sources):
            assert two.start - one.end == pytest.approx(1.0)
        assert longest_silence(session.pcm) < 30


def test_the_floor_has_the_level_it_should(shards, config):
    session = next(positive_sessions(shards.folder, config, 1, None))
    level = 20 * np.log10(cut(session, 0, 1.5).std() / 32_768)
    assert level == pytest.approx(config.evaluation.floor_dbfs, abs=0.3)


@pytest.mark.parametrize("snr_db", [10.0, 0.0])
def test_noise_has_the_asked_ratio_over_each_word(shards, config, snr_db):
    clean = list(positive_sessions(shards.folder, config, 3, None))
    noisy = list(positive_sessions(shards.folder, config, 3, snr_db))
    measured = []
    for quiet, loud in zip(clean, noisy, strict=True):
        assert quiet.words == loud.words
        for word in loud.words:
            measured.append(ratio_db(cut(loud, word.start, word.end), cut(quiet, word.start, word.end)))
        beds = [cut(loud, one.end + 0.1, two.start - 0.1).std() for one, two in pairwise(loud.sources)]
        assert min(beds) > 60  # in the pauses too
    assert len(measured) == 11
    assert np.abs(np.array(measured) - snr_db).max() < 0.3


def test_noise_is_of_the_same_split_and_cycled(shards, config, monkeypatch):
    asked = []

    def spy(folder, roles=None):
        asked.append(tuple(roles))
        return original(folder, roles)

    original = streams.iter_recordings
    monkeypatch.setattr(streams, "iter_recordings", spy)
    assert sum(len(one.pcm) for one in positive_sessions(shards.folder, config, 1, 5.0)) / RATE > 20
    assert set(asked) == {("positive",), ("noise",)} and asked.count(("noise",)) >= 3


def test_same_seed_same_samples(shards, config):
    first, again, other = (
        np.concatenate([one.pcm for one in positive_sessions(shards.folder, config, seed, 5.0)]) for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def test_phrases_that_sound_alike_are_streams_of_their_own(shards, config):
    found = {span.id for one in background_sessions(shards.folder, config, CONFUSABLE_ROLES) for span in one.sources}
    assert found == {one.id for one in shards.of("hard_negative")} and len(found) == 3


def test_background_is_everything_else_each_second_once(shards, config):
    heard = {}
    for session in background_sessions(shards.folder, config):
        assert session.words == []
        for span in session.sources:
            heard.setdefault(span.id, []).append((span.offset, cut(session, span.start, span.end)))
    expected = shards.of("negative", "background", "noise")
    assert set(heard) == {one.id for one in expected}
    for one in expected:
        parts = sorted(heard[one.id], key=lambda part: part[0])
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
            before = shards.recordings[span.id].audio[offset - window : offset]
            assert np.abs(session.pcm[start - window : start].astype(float) - before).max() < 150
            checked += 1
    assert checked == 3


def test_loud_mixtures_keep_their_ratio_instead_of_clipping(config, tmp_path, pack_shards, make_sound):
    random = np.random.default_rng(0)
    word = {"audio": make_sound(random, 1.0, 0.25), "role": "positive", "label": "hey robin", "speech": (0.1, 0.9)}
    loud = pack_shards(tmp_path, [word, {"audio": make_sound(random, 3.0, 0.1), "role": "noise"}])
    clean = next(positive_sessions(loud.folder, config, 1, None))
    noisy = next(positive_sessions(loud.folder, config, 1, 0.0))
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
    session = next(positive_sessions(talk.folder, config, 1, 10.0))
    assert cut(session, 0.5, 1.5).std() > 300
    assert session.words[0].end - session.words[0].start == pytest.approx(1.0)  # no voice activity known: all of it
    silent = pack_shards(tmp_path / "b", [word, dead])
    with pytest.raises(DataError, match="no noise"):
        next(positive_sessions(silent.folder, config, 1, 10.0))


def test_too_short_sessions_are_refused(shards):
    short = Config.model_validate({"evaluation": {"session_minutes": 0.05}})
    with pytest.raises(DataError, match="session_minutes"):
        next(background_sessions(shards.folder, short))
