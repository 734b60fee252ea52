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
    decode_audio,
    decode_wav,
    encode_flac,
    encode_wav,
    from_pcm16,
    probe,
    read_audio,
    read_blocks,
    read_pcm16,
    resample,
    to_mono,
    to_pcm16,
    write_audio,
)
from wakeword_core.sound_formats import sound_format


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


def test_a_long_file_is_read_whole_in_blocks(tmp_path):
    x = sine(70.0)
    soundfile.write(tmp_path / "a.wav", x, 16_000, subtype="FLOAT")
    assert len(list(read_blocks(tmp_path / "a.wav"))) == 2
    assert np.array_equal(read_audio(tmp_path / "a.wav", 16_000), x)


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


def test_a_pipe_is_an_error_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav cannot be opened \(no ordinary file\)"):
        read_audio(tmp_path / "a.wav", 16_000)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_an_error_not_hours_of_sound(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.zeros(2_000), rate)
    for read in (probe, lambda path: read_audio(path, 16_000), lambda path: read_pcm16(path, 16_000)):
        with pytest.raises(AudioError, match=rf"a\.wav states a sample rate of {rate:,} Hz"):
            read(tmp_path / "a.wav")


def test_a_cut_file_is_an_error_not_a_short_recording(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(tmp_path / "a.flac", noise, 16_000)
    os.truncate(tmp_path / "a.flac", 20_000)
    with pytest.raises(AudioError, match="breaks off"):
        read_audio(tmp_path / "a.flac", 16_000)


@pytest.mark.parametrize(
    ("sample", "says"), [(np.nan, "not numbers"), (np.inf, "not numbers"), (3e38, "beyond"), (-1e37, "beyond")]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_cannot_be_sound_are_an_error(tmp_path, sample, says, channels):
    x = sine()
    x[5] = sample
    soundfile.write(tmp_path / "a.wav", np.stack([x] * channels, axis=1), 44_100, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"a\.wav .*{says}"):
        read_audio(tmp_path / "a.wav", 16_000)
    if not np.isfinite(sample):
        with pytest.raises(AudioError, match="not numbers"):
            to_pcm16(x)


def written(kind, seconds=2.0, **options):
    """A stereo tone in a file in memory."""
    file = io.BytesIO()
    soundfile.write(file, np.stack([sine(seconds, 48_000)] * 2, axis=1), 48_000, format=kind, **options)
    return file.getvalue()


def written_by_av(kind, codec, seconds=2.0, layout="mono", **options):
    """A tone, by FFmpeg's writers; mp3 as a stream has it, without a header that states its length."""
    av = pytest.importorskip("av", reason="needs the media extra: pip install -e '.[media]'")
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options={"write_xing": "0"} if kind == "mp3" else {}) as container:
        stream = container.add_stream(codec, rate=48_000, layout=layout, options=options)
        samples = np.repeat(to_pcm16(sine(seconds, 48_000)), stream.layout.nb_channels)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout=layout)
        frame.sample_rate = 48_000
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


def piped_flac():
    """As a program writes it that cannot go back to the header: the length, 36 bits of it, is 0."""
    data = bytearray(written("FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


FOREIGN = {
    "w64": lambda: written("W64"),
    "caf": lambda: written("CAF"),
    "aifc": lambda: written("AIFF", subtype="ULAW"),
    "flac in a pipe": piped_flac,
    "mp3 of constant rate": lambda: written_by_av("mp3", "mp3", b="64000"),
    "mp3 of variable rate": lambda: written_by_av("mp3", "mp3", q="2", flags="+qscale"),
    "mp3 in wav": lambda: written_by_av("wav", "mp3", b="64000"),
    "mp3 with tags": lambda: b"ID3\3\0\0\0\0\1\0" + bytes(128) + written_by_av("mp3", "mp3") + b"TAG" + bytes(125),
    "m4a": lambda: written_by_av("mp4", "aac"),
    "m4a of eight channels": lambda: written_by_av("mp4", "aac", layout="7.1"),
    "aac": lambda: written_by_av("adts", "aac"),
    "webm": lambda: written_by_av("webm", "libopus"),
    "wma": lambda: written_by_av("asf", "wmav2", b="64000"),
}


@pytest.mark.parametrize("ending", [".wav", ""])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_is_what_its_bytes_say_whatever_it_is_called(tmp_path, kind, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(FOREIGN[kind]())
    x = read_audio(path, 16_000)
    assert len(x) / 16_000 == pytest.approx(2.0, abs=0.1)
    assert len(x) == round(probe(path).frames / 3) and probe(path).sample_rate == 48_000
    assert peak_frequency(x, 16_000) == pytest.approx(440, abs=2)
    assert np.array_equal(to_pcm16(x), read_pcm16(path, 16_000))
    seen = []
    assert np.array_equal(decode_audio(path.read_bytes(), 16_000, seen.append), x)
    assert seen and all(info.sample_rate == 48_000 and info.frames <= probe(path).frames for info in seen)


def test_a_file_without_a_stated_length_is_refused_as_soon_as_it_is_too_long(monkeypatch):
    monkeypatch.setattr("wakeword_core.audio._BLOCK_FRAMES", 4_800)
    lengths = []

    def check(info):
        lengths.append(info.seconds)
        if info.seconds > 0.5:
            raise ValueError("too long")

    with pytest.raises(ValueError, match="too long"):
        decode_audio(piped_flac(), 16_000, check)
    assert lengths == pytest.approx([0.1 * count for count in range(7)])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: written("WAV"), id="wav"),
        pytest.param(lambda: written("AIFF"), id="aiff"),
        pytest.param(lambda: written("AU"), id="au"),
        pytest.param(lambda: written("W64"), id="w64"),
        pytest.param(lambda: written("CAF"), id="caf"),
        pytest.param(lambda: written("OGG", subtype="VORBIS"), id="vorbis"),
        pytest.param(lambda: written("OGG", subtype="OPUS"), id="opus"),
        pytest.param(lambda: written("MP3"), id="mp3"),
        pytest.param(piped_flac, id="piped flac"),
        pytest.param(FOREIGN["m4a"], id="m4a"),
        pytest.param(FOREIGN["webm"], id="webm"),
    ],
)
@pytest.mark.parametrize("share", [0.31, 0.8])
def test_a_file_that_is_cut_is_found_whatever_its_format(tmp_path, data, share):
    whole = data()
    (tmp_path / "a").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(AudioError):
        read_audio(tmp_path / "a", 16_000)


def test_a_wrong_size_before_sound_that_is_whole_is_forgiven(tmp_path):
    whole = bytearray(encode_wav(to_pcm16(sine()), 16_000))
    for size in (0, len(whole) + 5_000, 0xFFFF_FFFF):
        whole[4:8] = size.to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(whole)
        assert len(read_audio(tmp_path / "a.wav", 16_000)) == 16_000
    whole[40:44] = (0xFFFF_FFFF).to_bytes(4, "little")  # as a program writes it to a pipe
    (tmp_path / "a.wav").write_bytes(whole)
    assert len(read_audio(tmp_path / "a.wav", 16_000)) == 16_000


@pytest.mark.parametrize(
    "head",
    [
        b"MAC addresses", b"caffeine", b"dns.example.org", b"ADIF log", b"ID3 tags are", b"the free ftyp",
        b"\xff\xfet\0e\0", b"\0\0\0\x18ftypheic", b"\xff\xd8\xff\xe0JFIF", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n",
        b"%PDF-1.7", b"PK\3\4", b"", b"R",
    ],
)  # fmt: skip
def test_texts_pictures_and_archives_are_no_sound(head):
    assert sound_format(io.BytesIO(head)) is None
    assert sound_format(io.BytesIO(head + bytes(100))) is None


def test_without_pyav_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.m4a").write_bytes(FOREIGN["m4a"]())
    monkeypatch.setattr("wakeword_core.audio.av_version", lambda: "")
    with pytest.raises(AudioError, match=r"a\.m4a .*PyAV: pip install"):
        read_audio(tmp_path / "a.m4a", 16_000)


def test_a_list_of_other_files_is_no_sound_and_opens_none(tmp_path):
    (tmp_path / "a.wav").write_bytes(written("WAV"))
    for name, text in (("a.m4a", "ffconcat version 1.0\nfile a.wav\n"), ("b.m4a", "#EXTM3U\n#EXTINF:1,\na.wav\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match="cannot be read as audio"):
            read_audio(tmp_path / name, 16_000)


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
    assert np.array_equal(decoded, pcm) and found_rate == rate


def test_samples_of_our_wav_files_are_decoded_in_place():
    data = bytearray(encode_wav(np.arange(4, dtype=np.int16), 8_000))
    pcm, _ = decode_wav(memoryview(data).toreadonly())
    data[-2:] = b"\x07\x00"
    assert pcm.tolist() == [0, 1, 2, 7] and not pcm.flags.writeable


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
