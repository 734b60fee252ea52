"""What is kept of a stream, within which bounds, and who can read it."""

import errno
import stat
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from wakeword_core.config import DetectorConfig, KeepConfig
from wakeword_core.errors import DataError
from wakeword_core.runtime.captures import Keeper, StreamKeeper, captures_in, read_facts
from wakeword_core.runtime.detector import StreamingDetector

RATE = 16_000
STEP = 0.04
DETECTOR = DetectorConfig(smoothing=1, hold=1, lockout_seconds=1.0, rearm_seconds=0.5)


class Clock:
    def __init__(self):
        self.now = datetime(2026, 11, 29, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def noise(seconds, seed=0):
    return (np.random.default_rng(seed).normal(size=round(seconds * RATE)) * 500).astype(np.int16)


def kept(keeper, folder, kind="event", seconds=1.0):
    return keeper.keep(noise(seconds), RATE, kind, "hey robin", {"score": 0.9}, 0.0)


def test_sound_and_facts_are_written_and_only_the_owner_reads_them(tmp_path, clock):
    folder = tmp_path / "private" / "kept"
    sound = Keeper(folder, KeepConfig(), clock).keep(noise(1.0), RATE, "near_miss", "hey robin", {"score": 0.4}, 2.5)
    (capture,) = captures_in(folder)
    heard, rate = soundfile.read(sound, dtype="int16")
    np.testing.assert_array_equal(heard, noise(1.0))
    assert rate == RATE and capture.sound == sound and capture.kind == "near_miss"
    facts = read_facts(capture)
    assert facts["time"] == "2026-11-29T11:59:57.500+00:00" and facts["word"] == "hey robin" and facts["score"] == 0.4
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, sound, capture.facts)]
    assert modes == [0o700, 0o600, 0o600]


def test_the_oldest_goes_where_there_is_too_much_or_it_is_too_old(tmp_path, clock):
    keeper = Keeper(tmp_path, KeepConfig(max_mb=1, max_days=2), clock)
    (tmp_path / "mine.flac").write_bytes(b"of somebody else")
    for _ in range(60):
        clock.now += timedelta(minutes=10)
        kept(keeper, tmp_path, seconds=3.0)
    found = captures_in(tmp_path)
    assert 5 < len(found) < 60 and sum(one.bytes for one in found) <= 1e6
    assert found[-1].kept == clock.now
    clock.now += timedelta(days=3)
    Keeper(tmp_path, KeepConfig(max_mb=1, max_days=2), clock).keep(noise(1.0), RATE, "event", "w", {}, 0.0)
    assert len(captures_in(tmp_path)) == 1 and (tmp_path / "mine.flac").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_hour_has_so_many_captures_also_after_a_restart(tmp_path, clock):
    settings = KeepConfig(max_an_hour=3)
    keeper = Keeper(tmp_path, settings, clock)
    taken = []
    for _ in range(5):
        clock.now += timedelta(minutes=1)
        taken.append(kept(keeper, tmp_path) is not None)
    assert taken == [True] * 3 + [False] * 2
    assert kept(Keeper(tmp_path, settings, clock), tmp_path) is None
    clock.now += timedelta(minutes=58)
    assert kept(keeper, tmp_path) is not None


def test_a_full_disk_is_told_of_once_and_stops_nothing(tmp_path, clock, monkeypatch, caplog):
    keeper = Keeper(tmp_path, KeepConfig(), clock)

    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", full)
        assert kept(keeper, tmp_path) is None and kept(keeper, tmp_path) is None
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert [path for path in tmp_path.iterdir() if path.suffix != ".json"] == []
    assert kept(keeper, tmp_path) is not None


def test_a_folder_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="nothing can be kept in"):
        Keeper(tmp_path / "file", KeepConfig())


@pytest.mark.parametrize("piece", [160, 5_000, 1_000_000])
def test_calls_refused_calls_and_near_misses_are_told_apart(tmp_path, clock, piece):
    """However the sound is cut: a call, one that a judge refuses, and a peak below the threshold."""
    model = SimpleNamespace(
        sample_rate=RATE, detector=DETECTOR, labels=("_negative", "hey robin"), handicaps=None, key="k"
    )
    times = np.arange(1, 300) * STEP
    wake = np.zeros(len(times))
    for second, score in ((2, 0.9), (5, 0.95), (8, 0.5)):
        wake[(times > second) & (times < second + 0.3)] = score
    rule = StreamingDetector(0.7, DETECTOR)
    calls = [found for time, score in zip(times, wake, strict=True) if (found := rule.push(time, score, "hey robin"))]
    settings = KeepConfig(near=0.5, before_seconds=1.5, after_seconds=1.0)
    keeper = StreamKeeper(Keeper(tmp_path, settings, clock), model, 0.7, decided_after=0.5)
    pcm, done = noise(12.0), 0
    for start in range(0, len(pcm), piece):
        part = pcm[start : start + piece]
        clock.now += timedelta(seconds=len(part) / RATE)
        until = np.searchsorted(times, (start + len(part)) / RATE, side="right")
        new = [call for call in calls if call.time in times[done:until]]
        if calls[1] in new:
            keeper.decide(calls[1], False)
        keeper.push(part, times[done:until], np.stack([1 - wake, wake], 1)[done:until], new)
        done = until
    keeper.finish()
    found = captures_in(tmp_path)
    assert [one.kind for one in found] == ["event", "refused", "near_miss"]
    for capture, second, score in zip(found, (2.04, 5.04, 8.04), (0.9, 0.95, 0.5), strict=True):
        start = round((second - 1.5) * RATE)
        np.testing.assert_array_equal(soundfile.read(capture.sound, dtype="int16")[0], pcm[start : start + 40_000])
        assert read_facts(capture)["score"] == pytest.approx(score)
