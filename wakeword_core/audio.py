"""Reading and writing sound files, and changing the rate or the number format of samples."""

import io
import struct
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError
from wakeword_core.files import replacing
from wakeword_core.media import MediaError, open_media
from wakeword_core.sound_formats import (
    INSTALL_MEDIA,
    MEDIA,
    EndlessMp3,
    Source,
    av_version,
    missing_end,
    opened,
    says_how_long,
    sound_format,
)

if TYPE_CHECKING:
    import soundfile

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]

LOUDEST = 1e4
"""Where full scale is 1: samples beyond it are integers taken for fractions or damage, and squares may overflow."""
_PCM_SCALE = 32_768.0
_PCM_MAX = 32_767.0
_BLOCK_FRAMES = 1 << 20
_LONGEST_FRAMES = 1 << 40
_RATES = (1_000, 1_000_000)
"""Of sound, in Hz: at a lower rate a small file would be hours of sound."""
_UNSTATED_FRAMES = 2**63 - 1
"""libsndfile's word for a FLAC that was written to a pipe."""
_WAV_HEADER, _RATE_FIELD = struct.Struct("<4sI4s4sIHHIIHH4sI"), 7
_WRITTEN_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


class AudioError(DataError):
    """A recording that cannot be decoded or written."""


@dataclass(frozen=True)
class AudioInfo:
    """Length, rate and channels as a recording's header gives them."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def decoder_versions() -> dict[str, str]:
    """Return the versions of the libraries that decode recordings; another one may round otherwise."""
    import soundfile

    versions = {"libsndfile": soundfile.__libsndfile_version__, "soundfile": soundfile.__version__}
    return {**versions, "av": av_version()} if av_version() else versions


def probe(source: Source) -> AudioInfo:
    """Read a recording's header, and all of it where that states no length; AudioError for what is no audio."""
    with _opened(source) as sound:
        frames = sum(map(len, sound.blocks)) if sound.frames is None else sound.frames
        return AudioInfo(frames, sound.sample_rate, sound.channels)


def read_blocks(source: Source) -> Iterator[Samples]:
    """Decode a recording as it is, in blocks float32 [frames, channels], unclipped and at its own rate.

    AudioError when it cannot be decoded to the end that its header announces.
    """
    with _opened(source) as sound:
        yield from sound.blocks


def read_audio(source: Source, sample_rate: int) -> Samples:
    """Decode a recording to mono float32 [samples] in [-1, 1] at `sample_rate` Hz; channels are averaged."""
    with _opened(source) as sound:
        return _mono(sound, sample_rate, lambda info: None)


def read_pcm_blocks(source: Source, sample_rate: int) -> Iterator[Pcm]:
    """Decode a recording to mono int16 as `to_pcm16(read_audio(...))` does, in blocks: memory does not grow with it."""
    with _opened(source) as sound:
        resampler = StreamResampler(sound.sample_rate, sample_rate)
        for block in sound.blocks:
            _require_sound(sound, block)
            yield to_pcm16(resampler.push(to_mono(block)))
        yield to_pcm16(resampler.finish())


def decode_audio(data: bytes, sample_rate: int, check: Callable[[AudioInfo], None]) -> Samples:
    """Decode a file in memory as `read_audio` does; `check` gets its header first, and may raise.

    Where the header states no length, `check` gets the length so far with every block that is decoded.
    """
    with _opened(data) as sound:
        return _mono(sound, sample_rate, check)


def read_pcm16(source: Source, sample_rate: int) -> Pcm:
    """Decode to mono int16, as `to_pcm16(read_audio(...))` to the bit; mono 16-bit files at the rate skip floats."""
    with _opened(source) as sound:
        plain = (sound.sample_rate, sound.channels, sound.subtype) == (sample_rate, 1, "PCM_16")
        if plain and len(pcm := sound.read_pcm16()) == sound.frames:
            return pcm
    return to_pcm16(read_audio(source, sample_rate))  # which also says what is wrong with a file that is cut


def to_mono(channels: Samples) -> Samples:
    """Average [frames, channels] to [frames]."""
    if channels.shape[1] == 1:
        return np.ascontiguousarray(channels[:, 0])
    mono: Samples = channels.mean(axis=1, dtype=np.float32)
    return mono


def resample(x: Samples, source_rate: int, target_rate: int) -> Samples:
    """Bring [samples] from `source_rate` to `target_rate` Hz with the soxr HQ filter; equal rates change nothing."""
    if source_rate == target_rate:
        return x
    import soxr

    return np.asarray(soxr.resample(x, source_rate, target_rate, quality="HQ"), dtype=np.float32)


class StreamResampler:
    """Resamples a stream as it arrives; what it gives is behind by the filter's length until it is finished."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._stream = None
        if source_rate != target_rate:
            import soxr

            self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")

    def push(self, x: Samples) -> Samples:
        """Resample the next samples, of any number; returns those at the target rate that they complete."""
        return x if self._stream is None else self._stream.resample_chunk(x)

    def finish(self) -> Samples:
        """End the stream; returns the samples that are still to come."""
        empty = np.empty(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)


def to_pcm16(x: Samples) -> Pcm:
    """Convert float32 in [-1, 1] to int16, rounded and clipped; `from_pcm16` undoes it. AudioError where one is NaN."""
    if not np.isfinite(x).all():
        raise AudioError("samples that are not numbers (NaN or infinite) cannot become 16-bit audio")
    pcm: Pcm = np.clip(np.rint(x * np.float32(_PCM_SCALE)), -_PCM_SCALE, _PCM_MAX).astype(np.int16)
    return pcm


def from_pcm16(pcm: Pcm) -> Samples:
    """Convert int16 to float32 in [-1, 1)."""
    return pcm.astype(np.float32) / np.float32(_PCM_SCALE)


def encode_wav(pcm: Pcm, sample_rate: int) -> bytes:
    """Return a mono 16-bit WAV file holding int16 [samples]: a 44-byte header and the samples, nothing else."""
    return _WAV_HEADER.pack(*_wav_header(len(pcm), sample_rate)) + np.ascontiguousarray(pcm, dtype="<i2").tobytes()


def _wav_header(samples: int, rate: int) -> tuple[bytes | int, ...]:
    size, pcm, mono = 2 * samples, 1, 1
    format_chunk = b"fmt ", 16, pcm, mono, rate, 2 * rate, 2, 16
    return b"RIFF", size + _WAV_HEADER.size - 8, b"WAVE", *format_chunk, b"data", size


def decode_wav(data: bytes | memoryview) -> tuple[Pcm, int]:
    """Return int16 [samples] and rate in Hz of a mono 16-bit WAV file in memory; AudioError for any other.

    Of a file as `encode_wav` makes it the samples are a view of `data`, which cannot be written to.
    """
    if len(data) >= _WAV_HEADER.size:
        header, samples = _WAV_HEADER.unpack_from(data), (len(data) - _WAV_HEADER.size) // 2
        if header == _wav_header(samples, rate := header[_RATE_FIELD]):
            return np.frombuffer(data, "<i2", samples, _WAV_HEADER.size), rate
    try:
        with wave.open(io.BytesIO(data)) as reader:
            wav = reader.getparams()
            samples = reader.readframes(wav.nframes)
    except (wave.Error, EOFError) as error:
        raise AudioError(f"it is not a mono 16-bit WAV file ({str(error) or 'it is cut'})") from error
    if (wav.nchannels, wav.sampwidth) != (1, 2):
        raise AudioError(f"a WAV file of {wav.nchannels} channels and {8 * wav.sampwidth} bits; need mono 16-bit PCM")
    if len(samples) != 2 * wav.nframes:
        raise AudioError(f"a WAV file is cut: {len(samples) // 2} of its {wav.nframes} samples are there")
    return np.frombuffer(samples, dtype="<i2").astype(np.int16), wav.framerate


def write_audio(path: Path, x: Samples, sample_rate: int) -> None:
    """Write mono float32 [samples] as 16-bit FLAC or WAV, by the suffix, so that the file appears whole."""
    import soundfile

    format_name = _WRITTEN_FORMATS.get(path.suffix.lower())
    if format_name is None:
        raise AudioError(f"cannot write {path}: the name must end in {' or '.join(_WRITTEN_FORMATS)}")
    pcm = to_pcm16(x)
    with replacing(path) as part:
        try:
            soundfile.write(part, pcm, sample_rate, subtype="PCM_16", format=format_name)
        except soundfile.SoundFileError as error:
            raise AudioError(
                f"cannot write {path} at {sample_rate} Hz ({_brief(error)}); see that its disk has room and may be "
                "written to"
            ) from error


def encode_flac(pcm: Pcm, sample_rate: int) -> bytes:
    """Return a mono 16-bit FLAC file holding int16 [samples], as small as it gets without loss: browsers play it."""
    import soundfile

    file = io.BytesIO()
    try:
        soundfile.write(
            file, np.ascontiguousarray(pcm), sample_rate, subtype="PCM_16", format="FLAC", compression_level=1.0
        )
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"cannot encode FLAC at {sample_rate} Hz ({_brief(error)})") from error
    return file.getvalue()


@dataclass
class _Sound:
    """A sound file that is open: what its header says, and its samples to be read once."""

    name: str
    sample_rate: int
    channels: int
    frames: int | None
    """None where the header does not say."""
    blocks: Iterator[Samples]
    subtype: str = ""
    read_pcm16: Callable[[], Pcm] = lambda: np.empty(0, np.int16)

    def __post_init__(self) -> None:
        if not _RATES[0] <= self.sample_rate <= _RATES[1]:
            raise AudioError(
                f"{self.name} states a sample rate of {self.sample_rate:,} Hz, but sound has {_RATES[0]:,} to "
                f"{_RATES[1]:,} Hz; replace or remove it"
            )


@contextmanager
def _opened(source: Source) -> Iterator[_Sound]:
    """Open a sound file with libsndfile, or with PyAV when it is of a kind that only that reads."""
    name = "the audio" if isinstance(source, bytes) else str(source)
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(opened(source))
            if not raw.read(1):
                raise AudioError(f"{name} is an empty file; replace or remove it")
            kind = sound_format(raw)
            end = missing_end(raw, kind)
        except OSError as error:
            raise AudioError(f"{name} cannot be opened ({error.strerror})") from error
        if end:
            raise AudioError(f"{name} is cut: {end}; replace or remove it")
        if kind in MEDIA:
            yield _with_av(name, raw, kind, stack)
            return
        try:
            sound = _with_libsndfile(name, source, raw, kind, stack)
        except AudioError as error:
            if kind is None or not av_version() or "malformed" in str(error):
                raise
            sound = _with_av(name, raw, kind, stack)  # a codec that libsndfile has not, as FLAC in Ogg
        yield sound


def _with_libsndfile(name: str, source: Source, raw: BinaryIO, kind: str | None, stack: ExitStack) -> _Sound:
    import soundfile

    try:
        stated = says_how_long(raw, kind)
        raw.seek(0)
        if stated:
            file = stack.enter_context(soundfile.SoundFile(raw if isinstance(source, bytes) else source))
            stated = file.frames != _UNSTATED_FRAMES
        if not stated:
            raw.seek(0)
            file = stack.enter_context(_one_way()(EndlessMp3(raw) if kind == "mp3" else raw))
    except OSError as error:
        raise AudioError(f"{name} cannot be opened ({error.strerror})") from error
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise AudioError(f"{name} cannot be read as audio ({_brief(error)}); replace or remove it") from error
    # a WAV states some samples more of an MP3 in it than there are, and how many bytes it has
    frames = file.frames if stated and (kind, file.subtype) != ("wav", "MPEG_LAYER_III") else None
    if file.samplerate <= 0 or (frames is not None and not 0 <= frames < _LONGEST_FRAMES):
        raise AudioError(f"{name} does not say how long it is (a stream?); write it to a file again")
    blocks = _blocks(name, file, frames)
    read_pcm16 = partial(_read, name, file, dtype="int16")
    return _Sound(name, file.samplerate, file.channels, frames, blocks, file.subtype, read_pcm16)


@cache
def _one_way() -> Any:
    """A SoundFile that does not seek after each read, which needs a length."""
    import soundfile

    class OneWay(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False

    return OneWay


def _read(name: str, file: "soundfile.SoundFile", frames: int = -1, **options: Any) -> Any:
    import soundfile

    try:
        return file.read(frames, **options)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(f"{name} breaks off while decoding ({_brief(error)}); replace or remove it") from error


def _blocks(name: str, file: "soundfile.SoundFile", frames: int | None) -> Iterator[Samples]:
    done = 0
    while frames is None or done < frames:
        wanted = _BLOCK_FRAMES if frames is None else min(_BLOCK_FRAMES, frames - done)
        block = _read(name, file, wanted, dtype="float32", always_2d=True)
        if not len(block):
            if frames is None:
                return
            raise AudioError(f"{name} breaks off after {done} of {frames} frames; replace or remove it")
        done += len(block)
        yield block


def _with_av(name: str, raw: BinaryIO, kind: str, stack: ExitStack) -> _Sound:
    if not av_version():
        raise AudioError(f"{name} is of a kind ({kind}) that is read with PyAV: {INSTALL_MEDIA}")
    try:
        rate, channels, blocks = open_media(raw, kind, stack)
    except MediaError as error:
        raise AudioError(f"{name} {error}") from None

    def named() -> Iterator[Samples]:
        try:
            yield from blocks
        except MediaError as error:
            raise AudioError(f"{name} {error}") from None

    return _Sound(name, rate, channels, None, named())


def _mono(sound: _Sound, sample_rate: int, check: Callable[[AudioInfo], None]) -> Samples:
    check(AudioInfo(sound.frames or 0, sound.sample_rate, sound.channels))
    blocks, done = list[Samples](), 0
    for block in sound.blocks:
        done += len(block)
        if sound.frames is None:
            check(AudioInfo(done, sound.sample_rate, sound.channels))
        _require_sound(sound, block)
        blocks.append(to_mono(block))
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.empty(0, np.float32)])
    return np.clip(resample(mono, sound.sample_rate, sample_rate), -1.0, 1.0)


def _require_sound(sound: _Sound, block: Samples) -> None:
    if problem := not_sound(float(np.abs(block).max(initial=0.0))):
        raise AudioError(f"{sound.name} holds {problem}; replace or remove it")


def not_sound(peak: float) -> str:
    """Say what is wrong with samples of which the largest has this size; nothing where they can be sound."""
    if not np.isfinite(peak):
        return "samples that are not numbers (NaN or infinite)"
    return f"samples up to {peak:.3g}, far beyond full scale, which is 1" if peak > LOUDEST else ""


def _brief(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).rstrip(".")
