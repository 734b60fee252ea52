import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.audio import (
    AudioError,
    decode_wav,
    encode_flac,
    encode_wav,
    from_pcm16,
    probe,
    read_audio,
    resample,
    to_mono,
    to_pcm16,
    write_audio,
)


def sine(seconds=1.0, rate=16_000, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def peak_frequency(x, rate):
    return np.argmax(np.abs(np.fft.rfft(x * np.hanning(len(x))))) * rate / len(x)


def test_importing_does_not_load_soundfile():
    code = "import sys, wakeword_core.audio; print(sorted({'soundfile', 'soxr', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {}),
        ("a.wav", {"subtype": "PCM_U8"}),
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.flac", {}),
        ("a.ogg", {"format": "OGG", "subtype": "OPUS"}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.mp3", {}),
        ("a.aiff", {}),
        ("a.au", {}),
    ],
)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_reads_every_format_and_rate_as_the_same_tone(tmp_path, name, options, rate):
    path = tmp_path / name
    stereo = np.stack([sine(rate=rate), sine(rate=rate)], axis=1)
    soundfile.write(path, stereo, rate, **options)
    x = read_audio(path, 16_000)
    assert x.dtype == np.float32 and x.ndim == 1
    assert len(x) == pytest.approx(16_000, abs=3_000)
    assert peak_frequency(x, 16_000) == pytest.approx(440, abs=3)
    assert np.abs(x[4_000:8_000]).max() == pytest.approx(0.5, abs=0.05)


def test_probe_reads_the_header(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros((4_410, 2)), 44_100)
    info = probe(tmp_path / "a.flac")
    assert (info.frames, info.sample_rate, info.channels, info.seconds) == (4_410, 44_100, 2, 0.1)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1), 16_000)
    assert read_audio(tmp_path / "a.wav", 16_000) == pytest.approx(np.full(100, 0.125), abs=1e-4)
    assert to_mono(np.ones((3, 2), np.float32)).dtype == np.float32


def test_a_long_file_is_read_whole_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("wakeword_core.audio._BLOCK_FRAMES", 1_000)
    soundfile.write(tmp_path / "a.wav", sine(), 16_000, subtype="FLOAT")
    assert np.array_equal(read_audio(tmp_path / "a.wav", 16_000), sine())


def test_samples_beyond_full_scale_are_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine() * 4, 16_000, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", 16_000)).max() == 1.0


def test_an_empty_recording_has_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 8_000)
    assert read_audio(tmp_path / "a.wav", 16_000).shape == (0,)


@pytest.mark.parametrize(("content", "says"), [(b"", "empty file"), (b"RIFFjunk" * 20, "cannot be read as audio")])
def test_what_is_no_audio_is_an_error_that_names_the_file(tmp_path, content, says):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=rf"a\.wav.*{says}"):
        probe(tmp_path / "a.wav")


def test_a_missing_file_is_an_audio_error(tmp_path):
    with pytest.raises(AudioError, match="No such file"):
        read_audio(tmp_path / "none.wav", 16_000)


def test_a_cut_file_is_an_error_not_a_short_recording(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(tmp_path / "a.flac", noise, 16_000)
    os.truncate(tmp_path / "a.flac", 20_000)
    with pytest.raises(AudioError, match="breaks off"):
        read_audio(tmp_path / "a.flac", 16_000)


def test_nan_is_an_error(tmp_path):
    x = sine()
    x[5] = np.nan
    soundfile.write(tmp_path / "a.wav", x, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not numbers"):
        read_audio(tmp_path / "a.wav", 16_000)
    with pytest.raises(AudioError, match="not numbers"):
        to_pcm16(x)


def test_resampling_keeps_pitch_and_removes_what_would_alias():
    down = resample(sine(rate=48_000), 48_000, 16_000)
    assert len(down) == 16_000 and peak_frequency(down, 16_000) == pytest.approx(440, abs=2)
    assert np.abs(resample(sine(rate=48_000, frequency=12_000), 48_000, 16_000)[100:-100]).max() < 1e-3
    same = sine()
    assert resample(same, 16_000, 16_000) is same


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-32_768, 32_767), max_size=50), st.sampled_from([8_000, 16_000, 48_000]))
def test_pcm_and_wav_round_trips_are_exact(samples, rate):
    pcm = np.array(samples, dtype=np.int16)
    assert np.array_equal(to_pcm16(from_pcm16(pcm)), pcm)
    decoded, found_rate = decode_wav(memoryview(encode_wav(pcm, rate)))
    assert np.array_equal(decoded, pcm) and found_rate == rate and decoded.flags.writeable


def test_pcm_clips_instead_of_wrapping_round():
    assert to_pcm16(np.array([1.0, 1.5, -1.5], np.float32)).tolist() == [32_767, 32_767, -32_768]


def test_our_wav_is_what_soundfile_reads(tmp_path):
    pcm = to_pcm16(sine())
    (tmp_path / "a.wav").write_bytes(encode_wav(pcm, 16_000))
    found, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert np.array_equal(found, pcm) and rate == 16_000


def test_decode_wav_skips_chunks_it_does_not_know():
    whole = encode_wav(np.arange(4, dtype=np.int16), 8_000)
    extra = b"LIST" + (3).to_bytes(4, "little") + b"abc\0"
    with_extra = whole[:4] + (len(whole) + len(extra) - 8).to_bytes(4, "little") + whole[8:36] + extra + whole[36:]
    assert decode_wav(with_extra)[0].tolist() == [0, 1, 2, 3]


def _stereo(data):
    return data[:22] + b"\x02\x00" + data[24:]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: b"nope" + data[4:], "not a mono 16-bit WAV file .*RIFF"),
        (lambda data: data[:-2], "cut"),
        (lambda data: data[:36], "data chunk missing"),
        (_stereo, "mono 16-bit"),
        (lambda data: data[:12] + data[36:], "data chunk before fmt chunk"),
        (lambda data: data[:16] + (4).to_bytes(4, "little") + data[20:], "not a mono 16-bit WAV file"),
    ],
)
def test_decode_wav_refuses_other_data(change, says):
    with pytest.raises(AudioError, match=says):
        decode_wav(change(encode_wav(np.arange(4, dtype=np.int16), 8_000)))


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_written_audio_reads_back_exactly(tmp_path, name):
    x = from_pcm16(to_pcm16(sine()))
    write_audio(tmp_path / "new" / name, x, 16_000)
    assert np.array_equal(read_audio(tmp_path / "new" / name, 16_000), x)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_writing_refuses_other_suffixes_and_leaves_no_half_files(tmp_path):
    with pytest.raises(AudioError, match=r"\.wav or \.flac"):
        write_audio(tmp_path / "a.mp3", sine(), 16_000)
    with pytest.raises(AudioError, match="cannot write"):
        write_audio(tmp_path / "a.flac", sine(), 10_000_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_flac_in_memory_holds_the_very_samples(rate):
    pcm = np.random.default_rng(1).integers(-32_768, 32_768, rate // 3).astype(np.int16)
    samples, found = soundfile.read(io.BytesIO(encode_flac(pcm, rate)), dtype="int16")
    assert found == rate and np.array_equal(samples, pcm)
    assert encode_flac(pcm, rate) == encode_flac(pcm, rate)
    quiet = (pcm // 1_000).astype(np.int16)
    assert len(encode_flac(quiet, rate)) < len(encode_wav(quiet, rate)) / 2


def test_flac_of_an_impossible_rate_is_an_error_in_words():
    with pytest.raises(AudioError, match="at -1 Hz"):
        encode_flac(np.zeros(10, np.int16), -1)
