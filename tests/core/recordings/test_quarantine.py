"""Recordings that are not used stay in the manifest, each with its reason."""

import os
import shutil

import numpy as np
import pytest
from sound_files import RATE, noise, source, write

from wakeword_core.config import DataConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings import measuring


def sound_with(sample):
    x = noise()
    x[100] = sample
    return x


BAD = {
    "broken": (lambda p: p.write_bytes(b"RIFF" + bytes(500)), "cannot be read as audio", "broken"),
    "cut": (lambda p: (write(p, noise(5), format="FLAC"), os.truncate(p, 40_000)), "breaks off", "broken"),
    "empty": (lambda p: p.write_bytes(b""), "an empty file of 0 bytes", "empty file"),
    "no samples": (lambda p: write(p, np.zeros(0)), "0.000 s long; at least 0.2 s are needed", "too short"),
    "silent": (
        lambda p: write(p, np.zeros(RATE)),
        "silent: -200.0 dBFS, below -70 (data.audio.silence_dbfs)",
        "silent",
    ),
    "clipped": (
        lambda p: write(p, np.sign(noise(0.5))),
        "clipped: 100.0% of samples at full scale; at most 5.0% are accepted (data.health.max_clipped_ratio)",
        "clipped",
    ),
    "8-channel": (
        lambda p: write(p, np.repeat(noise()[:, None], 8, axis=1)),
        "8 channels; at most 2 are accepted (data.health.max_channels)",
        "too many channels",
    ),
    "0.05 s": (
        lambda p: write(p, noise(0.05)),
        "0.050 s long; at least 0.2 s are needed (data.health.min_seconds)",
        "too short",
    ),
    "10-minute": (
        lambda p: write(p, noise(600, 8_000), 8_000),
        "600.0 s long; at most 60 s are accepted (data.health.max_seconds)",
        "too long",
    ),
    "NaN": (lambda p: write(p, sound_with(np.nan), subtype="FLOAT"), "not numbers (NaN or infinite)", "not numbers"),
    "3e38": (
        lambda p: write(p, sound_with(3e38), 12_000, subtype="FLOAT"),
        "holds samples up to 3e+38, far beyond full scale, which is 1",
        "beyond full scale",
    ),
    "-1e37 in stereo": (
        lambda p: write(p, np.stack([sound_with(-1e37)] * 2, axis=1), 8_000, subtype="FLOAT"),
        "holds samples up to 1e+37, far beyond full scale, which is 1",
        "beyond full scale",
    ),
    "cut Ogg": (
        lambda p: (write(p, noise(5), format="OGG", subtype="VORBIS"), os.truncate(p, p.stat().st_size * 2 // 3)),
        "is cut: the page that ends an Ogg stream is missing",
        "broken",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_recordings_stay_with_their_reason(tmp_path, build, name):
    make, says, kind = BAD[name]
    write(tmp_path / "r" / "good.wav", noise(seed=9))
    make(tmp_path / "r" / "bad.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert frame.loc["bad.wav", "status"] == "quarantined" and says in frame.loc["bad.wav", "reason"]
    assert str(tmp_path) not in frame.loc["bad.wav", "reason"]
    assert (frame.loc["good.wav", "status"], frame.loc["good.wav", "reason"]) == ("ok", "")
    assert summary.reasons == {kind: 1} and (summary.usable, summary.quarantined) == (1, 1)


GOOD = {
    "8-bit": lambda p: write(p, noise(), subtype="PCM_U8"),
    "48 kHz": lambda p: write(p, noise(rate=48_000), 48_000),
    "stereo": lambda p: write(p, np.stack([noise(), noise()], axis=1)),
    "quiet": lambda p: write(p, noise() * 0.01),
    "float": lambda p: write(p, noise(), subtype="FLOAT"),
}


@pytest.mark.parametrize("name", GOOD)
def test_unusual_but_fit_recordings_are_used(tmp_path, build, name):
    GOOD[name](tmp_path / "r" / "a.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert frame.loc["a.wav", "status"] == "ok" and summary.usable == 1


def test_large_files_are_not_decoded(tmp_path, build, monkeypatch):
    write(tmp_path / "r" / "a.wav", noise(2))
    monkeypatch.setattr(measuring, "probe", lambda path: pytest.fail("was opened"))
    frame, _ = build(source(tmp_path / "r"), config=DataConfig(health={"max_file_mb": 0.01}))
    assert "a file of 0.1 MB; at most 0.01 MB are accepted (data.health.max_file_mb)" in frame.loc["a.wav", "reason"]


@pytest.mark.parametrize(("role", "status"), [("background", "ok"), ("noise", "ok"), ("negative", "quarantined")])
def test_background_may_be_long(tmp_path, build, role, status):
    write(tmp_path / "r" / "a.wav", noise(90, 8_000), 8_000)
    assert build(source(tmp_path / "r", role=role))[0].loc["a.wav", "status"] == status


def test_a_link_to_outside_is_quarantined(tmp_path, build):
    write(tmp_path / "r" / "a.wav", noise())
    write(tmp_path / "secret.wav", noise(seed=2))
    (tmp_path / "r" / "b.wav").symlink_to(tmp_path / "secret.wav")
    frame, summary = build(source(tmp_path / "r"))
    assert "leads outside" in frame.loc["b.wav", "reason"] and summary.reasons == {"unreadable": 1}


def test_duplicates_keep_the_first_and_conflicts_keep_none(tmp_path, build):
    write(tmp_path / "one" / "b.wav", noise(seed=1))
    shutil.copy(tmp_path / "one" / "b.wav", tmp_path / "one" / "c.wav")
    write(tmp_path / "two" / "d.wav", noise(seed=2))
    write(tmp_path / "three" / "e.wav", noise(seed=3))
    shutil.copy(tmp_path / "two" / "d.wav", tmp_path / "three" / "f.wav")
    shutil.copy(tmp_path / "one" / "b.wav", tmp_path / "zero.wav")
    frame, summary = build(
        source(tmp_path / "one", "one"),
        source(tmp_path / "two", "two"),
        source(tmp_path / "three", "three", role="positive"),
    )
    assert frame.loc["b.wav", "status"] == "ok" and frame.loc["c.wav", "reason"] == "duplicate of one/b.wav"
    for name in ("d.wav", "f.wav"):
        assert "_negative as negative and robin as positive (three/f.wav, two/d.wav)" in frame.loc[name, "reason"]
    assert summary.reasons == {"conflicting labels": 2, "duplicate": 1}
    assert frame[frame["status"] == "ok"]["recording_id"].is_unique


def test_the_same_bytes_in_another_role_conflict(tmp_path, build):
    write(tmp_path / "one" / "a.wav", noise())
    write(tmp_path / "two" / "b.wav", noise())
    write(tmp_path / "two" / "c.wav", noise(seed=5))
    _, summary = build(source(tmp_path / "one", "one"), source(tmp_path / "two", "two", role="noise"))
    assert summary.reasons == {"conflicting labels": 2}


@pytest.mark.parametrize("function", ["measure_header", "measure_sound"])
@pytest.mark.parametrize("error", [IndexError("index 9 is out of bounds"), OSError(5, "Input/output error")])
def test_whatever_fails_with_one_recording_is_said_of_that_one_and_tried_again(
    tmp_path, build, monkeypatch, function, error
):
    write(tmp_path / "r" / "good.wav", noise(seed=9))
    write(tmp_path / "r" / "bad.wav", noise(seed=1))
    bad, real = (tmp_path / "r" / "bad.wav").read_bytes(), getattr(measuring, function)

    def measure(data, *others):
        if data == bad:
            raise error
        return real(data, *others)

    monkeypatch.setattr(measuring, function, measure)
    frame, summary = build(source(tmp_path / "r"))
    assert summary.reasons == {"broken": 1} and frame.loc["good.wav", "status"] == "ok"
    assert str(error.args[-1]) in frame.loc["bad.wav", "reason"]
    monkeypatch.setattr(measuring, function, real)
    assert build(source(tmp_path / "r"))[1].usable == 2


def test_each_source_says_what_it_has_and_what_is_left_out(tmp_path, build, caplog):
    caplog.set_level("INFO")
    write(tmp_path / "r" / "a.wav", noise())
    write(tmp_path / "r" / "b.wav", noise())
    (tmp_path / "r" / "c.wav").touch()
    (tmp_path / "r" / "LICENSE").write_text("CC0")
    (tmp_path / "r" / "d.wav").symlink_to(tmp_path / "elsewhere.wav")
    _, summary = build(source(tmp_path / "r"), source(tmp_path / "gone", "gone"))
    left_out = "1 duplicate, 1 empty file, 1 unreadable, 1 not audio, such as LICENSE"
    counted = ("source", "found", "used", "left_out")
    assert [{name: one[name] for name in counted} for one in summary.found] == [
        {"source": "mine", "found": 5, "used": 1, "left_out": left_out},
        {"source": "gone", "found": 0, "used": 0, "left_out": ""},
    ]
    assert f"source 'mine': 5 files found, 1 used, left out: {left_out}" in caplog.messages
    (said,) = summary.not_read
    assert said.startswith("source 'mine': 1 recordings, such as d.wav: cannot be read (a link that leads outside")


@pytest.mark.parametrize("what", ["links", "empty"])
def test_a_source_that_gives_nothing_is_missing(tmp_path, build, what):
    write(tmp_path / "good" / "a.wav", noise())
    (tmp_path / "r").mkdir()
    if what == "links":
        (tmp_path / "r" / "a.wav").symlink_to(tmp_path / "good" / "a.wav")
    else:
        (tmp_path / "r" / "a.wav").touch()
    good, bad = source(tmp_path / "good", "good"), source(tmp_path / "r")
    _, summary = build(good, bad)
    (missing,) = summary.missing_sources
    assert missing["source"] == "mine" and "none of its 1 recordings can be used" in missing["problem"]
    with pytest.raises(DataError, match=r"source 'mine': none of its 1 recordings .* as a\.wav: "):
        build(good, bad, config=DataConfig(missing_source="fail"))
    copies = source(tmp_path / "good", "again")
    assert build(good, copies, config=DataConfig(missing_source="fail"))[1].usable == 1, "copies are used elsewhere"


def test_labels_that_are_almost_the_word_are_named(tmp_path, build):
    write(tmp_path / "r" / "Robin!" / "a.wav", noise())
    write(tmp_path / "r" / "robins" / "b.wav", noise(seed=1))
    frame, summary = build(source(tmp_path / "r", labels="parent"))
    assert frame.loc["Robin!/a.wav", ["label", "role"]].tolist() == ["robin", "positive"]
    assert summary.near_labels == [{"source": "mine", "label": "robins", "word": "robin", "recordings": 1}]
