"""What is measured of a recording, and that it is measured once."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from sound_files import RATE, noise, source, write

from wakeword_core.audio import from_pcm16, read_blocks, resample
from wakeword_core.config import DataConfig
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.recordings import measuring, sources
from wakeword_core.recordings.health import NOT_HEARD
from wakeword_core.recordings.scan import ScanCache, scan
from wakeword_core.recordings.sources import State
from wakeword_core.speech import espeak


def test_measures_do_not_depend_on_the_block_length(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", noise(1))
    whole = measuring.measure_sound(tmp_path / "a.wav", RATE, None, 0.5)
    monkeypatch.setattr("wakeword_core.audio._BLOCK_FRAMES", 999)
    assert len(list(read_blocks(tmp_path / "a.wav"))) == 17
    assert measuring.measure_sound(tmp_path / "a.wav", RATE, None, 0.5) == whole


@pytest.mark.parametrize("role", ["positive", "hard_negative"])
def test_the_word_is_found_in_its_recording(tmp_path, build, role):
    pcm, rate = espeak.speak("computer", espeak.Voice())
    word = resample(from_pcm16(pcm), rate, 48_000)
    hiss = np.random.default_rng(0).normal(0, 1e-4, 48_000)
    write(tmp_path / "r" / "a.wav", np.concatenate([hiss, word, hiss]), 48_000)
    row = build(source(tmp_path / "r", role=role))[0].loc["a.wav"]
    assert row.speech_start == pytest.approx(1.0, abs=0.2)
    assert row.speech_end == pytest.approx(1 + len(word) / 48_000, abs=0.4)
    assert 0 < row.speech_ratio < 1 and row.reason == ""


def test_a_positive_without_detected_speech_is_kept_with_a_note(tmp_path, build):
    x = np.random.default_rng(0).normal(0, 1e-5, 2 * RATE)
    x[RATE : RATE + 3_200] += 0.01 * np.sin(np.arange(3_200))
    write(tmp_path / "r" / "a.wav", x, subtype="FLOAT")
    frame, summary = build(source(tmp_path / "r", role="positive"))
    row = frame.loc["a.wav"]
    assert (row.status, row.reason, row.speech_ratio) == ("ok", NOT_HEARD, 0.0)
    assert (row.speech_start, row.speech_end) == (pytest.approx(1.0, abs=0.05), pytest.approx(1.2, abs=0.05))
    assert summary.notes == {NOT_HEARD: 1} and summary.labels == {"robin": 1}


def test_an_unchanged_tree_is_not_decoded_again(recordings, build, monkeypatch):
    calls = []
    first, summary = build(
        source(recordings, role="positive", speaker="parent"), progress=lambda *call: calls.append(call)
    )
    assert ("measure recordings", 10, 10) in calls and ("read headers", 10, 10) in calls
    monkeypatch.setattr(soundfile, "SoundFile", lambda *args: pytest.fail("was opened"))
    again, summary_again = build(source(recordings, role="positive", speaker="parent"))
    pd.testing.assert_frame_equal(first, again)
    assert summary == summary_again
    (recordings / "spk0" / "0.wav").rename(recordings / "spk0" / "renamed.wav")
    assert build(source(recordings, role="positive", speaker="parent"))[1] == summary


def test_only_what_is_new_is_decoded(recordings, build, write_tone):
    build(source(recordings))
    write_tone(recordings / "new.wav", seed=77)
    calls = []
    build(source(recordings), progress=lambda *call: calls.append(call))
    assert ("measure recordings", 1, 1) in calls and ("hash mine", 11, 11) in calls
    calls.clear()
    build(source(recordings, role="positive"), progress=lambda *call: calls.append(call))
    assert ("measure recordings", 11, 11) in calls, "speech is measured when a source becomes a positive one"


@pytest.mark.parametrize(
    ("name", "value", "measured"),
    [
        ("MEASURING_VERSION", 99, {"read headers", "measure recordings"}),
        ("decoder_versions", lambda: {"libsndfile": "99"}, {"read headers", "measure recordings"}),
        ("library_versions", lambda names: dict.fromkeys(names, "99"), {"measure recordings"}),
    ],
)
def test_other_code_or_libraries_measure_anew(recordings, build, monkeypatch, name, value, measured):
    spoken = source(recordings, role="positive")
    build(spoken)
    calls = []
    monkeypatch.setattr(measuring, name, value)
    build(spoken, progress=lambda *call: calls.append(call))
    assert {what for what, done, total in calls if (done, total) == (10, 10)} - {"hash mine"} == measured
    calls.clear()
    build(spoken, progress=lambda *call: calls.append(call))
    assert {what for what, *_ in calls} == {"hash mine"}


def test_limits_may_change_without_measuring_again(tmp_path, build, monkeypatch):
    write(tmp_path / "r" / "a.wav", noise(0.3))
    write(tmp_path / "r" / "b.wav", noise(1.0))
    assert build(source(tmp_path / "r"))[1].usable == 2
    monkeypatch.setattr(soundfile, "SoundFile", lambda *args: pytest.fail("was opened"))
    assert build(source(tmp_path / "r"), config=DataConfig(health={"min_seconds": 0.5}))[1].reasons == {"too short": 1}


def test_what_the_disk_refuses_is_not_remembered_as_broken(tmp_path, monkeypatch):
    write(tmp_path / "a.wav", noise())
    with pytest.raises(DataError, match="No such file"):
        measuring.measure_header(tmp_path / "gone.wav")
    assert "error" not in measuring.measure_header(tmp_path / "a.wav")


def test_a_cache_of_another_run_can_be_open_at_the_same_time(recordings, tmp_path, build):
    other = ScanCache(tmp_path / "cache")
    build(source(recordings))
    assert len(list(other.hashes(recordings))) == 10


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_measured_are_the_bytes_that_were_hashed(tmp_path, cache, build, monkeypatch, whole):
    if not whole:
        monkeypatch.setattr(sources, "WHOLE_FILE_BYTES", 0)
    write(tmp_path / "r" / "a.wav", noise())
    write(tmp_path / "r" / "b.wav", noise(seed=1))
    listing = scan([source(tmp_path / "r")], cache)
    (old, _), state = listing.rows["recording_id"], State.of((tmp_path / "r" / "a.wav").stat())
    write(tmp_path / "r" / "a.wav", np.zeros(8_000))
    # as on a file system whose times are too coarse to tell
    cache.remember_hashes([(str(tmp_path / "r" / "a.wav"), State.of((tmp_path / "r" / "a.wav").stat()), old)])
    assert State.of((tmp_path / "r" / "a.wav").stat()) != state
    with pytest.raises(DataError, match=r"a\.wav: its bytes changed since the scan; run again"):
        build(source(tmp_path / "r"))
    frame, _ = build(source(tmp_path / "r"))
    assert frame.loc["a.wav", "recording_id"] == hash_file(tmp_path / "r" / "a.wav") != old
    assert frame.loc["a.wav", "reason"].startswith("silent")
