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
from wakeword_core.runtime.detector import Detection, StreamingDetector

RATE = 16_000
STEP = 0.04
DETECTOR = DetectorConfig(smoothing=1, hold=1, lockout_seconds=1.0, rearm_seconds=0.5)
MODEL = SimpleNamespace(sample_rate=RATE, detector=DETECTOR, labels=("_negative", "hey robin"), handicaps=None, key="k")


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


def test_near_misses_leave_half_of_the_hour_to_wake_words(tmp_path, clock):
    keeper = Keeper(tmp_path, KeepConfig(max_an_hour=4), clock)
    taken = []
    for kind in ("near_miss", "near_miss", "near_miss", "event", "event", "event"):
        clock.now += timedelta(seconds=10)
        taken.append(kept(keeper, tmp_path, kind) is not None)
    assert taken == [True, True, False, True, True, False]


def test_two_servers_keep_the_bounds_of_one_folder_together(tmp_path, clock):
    """Each counts what the other has kept, and not what a person has deleted meanwhile."""
    few = KeepConfig(max_an_hour=3)
    one, other = (Keeper(tmp_path / "few", few, clock) for _ in range(2))
    taken = []
    for keeper in (one, other, one, other):
        clock.now += timedelta(seconds=10)
        taken.append(kept(keeper, tmp_path) is not None)
    assert taken == [True, True, True, False]
    one, other = (Keeper(tmp_path / "small", KeepConfig(max_mb=1), clock) for _ in range(2))
    for keeper in (one, other) * 10:
        clock.now += timedelta(hours=1)
        kept(keeper, tmp_path, seconds=3.0)
    found = captures_in(tmp_path / "small")
    assert 5 < len(found) < 20 and sum(capture.bytes for capture in found) <= 1e6
    for capture in found[1:]:
        capture.sound.unlink()
    kept(one, tmp_path, seconds=3.0)
    assert found[0].sound.exists()


def test_a_clock_that_is_set_back_does_not_end_the_keeping(tmp_path, clock):
    keeper = Keeper(tmp_path, KeepConfig(max_an_hour=1, max_days=2), clock)
    assert kept(keeper, tmp_path)
    clock.now -= timedelta(days=400)
    assert kept(keeper, tmp_path) and not kept(keeper, tmp_path)
    clock.now += timedelta(days=400, hours=2)
    keeper.tidy()
    assert [clock.now - capture.kept for capture in captures_in(tmp_path)] == [timedelta(hours=2)]


def test_what_is_too_old_goes_at_the_start_and_while_nothing_is_heard(tmp_path, clock):
    settings = KeepConfig(max_days=2)
    keeper = Keeper(tmp_path, settings, clock)
    kept(keeper, tmp_path)
    clock.now += timedelta(days=3)
    keeper.tidy()
    assert list(tmp_path.iterdir()) == []
    kept(keeper, tmp_path)
    clock.now += timedelta(days=3)
    (tmp_path / f".2026-12-05T12-00-00.000000_event.flac.{'ab' * 6}.part").write_bytes(b"a kill left this sound")
    Keeper(tmp_path, settings, clock)
    assert list(tmp_path.iterdir()) == []


FOREIGN = (
    "2020-01-01T00-00-00.000000_dog.flac", "2020-01-01T00-00-00.5_event.flac", "2020-01-01T00-00-00.000000.flac",
    "2020-01-01T00-00-00.000000_near_miss.flac", "2020-13-01T00-00-00.000000_event.flac", "_event.json", "mine.json",
)  # fmt: skip


def test_what_no_server_wrote_is_no_capture_and_stays(tmp_path, clock):
    for name in FOREIGN:
        (tmp_path / name).write_text("mine")
    (tmp_path / "2020-01-01T00-00-00.000000_event.flac").symlink_to(tmp_path / "mine.json")
    (tmp_path / "2020-01-01T00-00-00.000000_refused.flac").mkdir()
    keeper = Keeper(tmp_path, KeepConfig(), clock)
    assert captures_in(tmp_path) == [] and kept(keeper, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(FOREIGN) + 4


@pytest.mark.parametrize("text", ["[]", "{", '{"word": NaN}', "[" * 10_000, '{"word": "' + "x" * 100_000 + '"}'])
def test_facts_that_somebody_has_spoilt_say_nothing(tmp_path, clock, text):
    kept(Keeper(tmp_path, KeepConfig(), clock), tmp_path)
    (capture,) = captures_in(tmp_path)
    capture.facts.write_text(text)
    assert read_facts(capture) == {}
    capture.facts.unlink()
    assert read_facts(capture) == {}


def test_files_are_private_from_their_first_byte(tmp_path, clock, monkeypatch):
    """Also where the folder was there before, and is not."""
    modes, write = [], soundfile.write

    def looking(part, *given, **options):
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir())
        write(part, *given, **options)

    monkeypatch.setattr(soundfile, "write", looking)
    tmp_path.chmod(0o755)
    kept(Keeper(tmp_path, KeepConfig(), clock), tmp_path)
    assert modes == [0o600, 0o600]


def test_a_full_disk_is_told_of_once_and_stops_nothing(tmp_path, clock, monkeypatch, caplog):
    keeper = Keeper(tmp_path, KeepConfig(), clock)

    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(soundfile, "write", full)
        assert kept(keeper, tmp_path) is None and kept(keeper, tmp_path) is None
    assert len(caplog.records) == 1 and "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert kept(keeper, tmp_path) is not None


def test_a_folder_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="nothing can be kept in"):
        Keeper(tmp_path / "file", KeepConfig())


@pytest.mark.parametrize("piece", [160, 5_000, 1_000_000])
def test_calls_refused_calls_and_near_misses_are_told_apart(tmp_path, clock, piece):
    """However the sound is cut: a call, one that a judge refuses, and a peak below the threshold."""
    times = np.arange(1, 300) * STEP
    wake = np.zeros(len(times))
    for second, score in ((2, 0.9), (5, 0.95), (8, 0.5)):
        wake[(times > second) & (times < second + 0.3)] = score
    rule = StreamingDetector(0.7, DETECTOR)
    calls = [found for time, score in zip(times, wake, strict=True) if (found := rule.push(time, score, "hey robin"))]
    settings = KeepConfig(near=0.5, before_seconds=1.5, after_seconds=1.0)
    keeper = StreamKeeper(Keeper(tmp_path, settings, clock), MODEL, 0.7)
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


def hear(keeper, pcm, peaks, calls=(), piece=1_600):
    """Push a stream in pieces, with scores that are high for 0.3 s from some seconds on."""
    times = np.arange(1, round(len(pcm) / RATE / STEP)) * STEP
    wake = np.zeros(len(times))
    for second, score in peaks:
        wake[(times > second) & (times < second + 0.3)] = score
    scores, done = np.stack([1 - wake, wake], 1), 0
    for start in range(0, len(pcm), piece):
        stop = min(start + piece, len(pcm))
        until = np.searchsorted(times, stop / RATE, side="right")
        new = [call for call in calls if start < round(call.time * RATE) <= stop]
        keeper.push(pcm[start:stop], times[done:until], scores[done:until], new)
        done = until


def test_a_capture_says_how_much_sound_is_before_it(tmp_path, clock):
    """At the stream's beginning there is less; and a judge that takes longer makes none longer."""
    settings = KeepConfig(before_seconds=1.5, after_seconds=1.0)
    for decided_after in (None, 3.0):
        folder = tmp_path / str(decided_after)
        keeper = StreamKeeper(Keeper(folder, settings, clock), MODEL, 0.7, decided_after=decided_after)
        pcm = noise(8.0)
        hear(
            keeper,
            pcm,
            ((0.5, 0.9), (4.0, 0.9)),
            [Detection(0.52, 0.9, "hey robin"), Detection(4.04, 0.9, "hey robin")],
        )
        keeper.finish()
        first, second = captures_in(folder)
        assert first.kind == ("event" if decided_after is None else "refused")
        for capture, time, before in ((first, 0.52, 0.52), (second, 4.04, 1.5)):
            assert read_facts(capture)["before_seconds"] == before
            expected = pcm[round((time - before) * RATE) : round((time + 1.0) * RATE)]
            np.testing.assert_array_equal(soundfile.read(capture.sound, dtype="int16")[0], expected)


def test_what_comes_of_the_quiet_after_the_end_is_kept_once_and_with_sound(tmp_path, clock):
    """The detector says it at the end, and the scores come later still."""
    keeper = StreamKeeper(Keeper(tmp_path, KeepConfig(before_seconds=0.5), clock), MODEL, 0.7)
    pcm = noise(3.0)
    hear(keeper, pcm, ())
    quiet = 3.0 + np.arange(1, 50) * STEP
    wake = np.where(quiet > 4.2, 0.9, 0.0)
    keeper.push(pcm[:0], quiet, np.stack([1 - wake, wake], 1), [Detection(3.0, 0.9, "hey robin")])
    keeper.finish()
    (capture,) = captures_in(tmp_path)
    facts = read_facts(capture)
    assert (capture.kind, facts["score"], facts["before_seconds"]) == ("event", 0.9, 0.5)
    np.testing.assert_array_equal(soundfile.read(capture.sound, dtype="int16")[0], pcm[-8_000:])


def test_a_long_stream_that_nearly_wakes_takes_no_more_memory(tmp_path, clock):
    keeper = StreamKeeper(Keeper(tmp_path, KeepConfig(max_an_hour=1), clock), MODEL, 0.7)
    sizes = []
    for _ in range(4):
        for second in range(0, 60, 4):
            now = keeper._around.samples / RATE
            times = now + np.arange(1, 101) * STEP
            wake = np.where(np.arange(100) < 8, 0.5, 0.0)
            calls = [Detection(float(times[60]), 0.9, "hey robin")] if second % 8 else []
            keeper.push(noise(4.0), times, np.stack([1 - wake, wake], 1), calls)
        state = (keeper._around._kept, keeper._around._waiting, keeper._calls, keeper._recent)
        sizes.append([len(one) for one in state])
    assert sizes[0] == sizes[-1] and max(sizes[-1]) < 5 * RATE
