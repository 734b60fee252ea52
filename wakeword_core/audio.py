"""Reading and writing sound files, and changing the rate or the number format of samples."""

import io
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError
from wakeword_core.files import replacing

if TYPE_CHECKING:
    import soundfile

Samples = NDArray[np.float32]
Pcm = NDArray[np.int16]
Source = Path | bytes
"""A file on disk or in memory."""

_PCM_SCALE = 32_768.0
_PCM_MAX = 32_767.0
_BLOCK_FRAMES = 1 << 20
_LONGEST_FRAMES = 1 << 40
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

    return {"libsndfile": soundfile.__libsndfile_version__, "soundfile": soundfile.__version__}


def probe(path: Path) -> AudioInfo:
    """Read a recording's header only; AudioError if it is no audio that can be read."""
    with _opened(path) as file:
        return _info(path, file)


def read_blocks(path: Path) -> Iterator[Samples]:
    """Decode a recording as it is, in blocks float32 [frames, channels], unclipped and at its own rate.

    AudioError when it cannot be decoded to the end its header announces.
    """
    with _opened(path) as file:
        yield from _blocks(path, file, _info(path, file))


def read_audio(path: Path, sample_rate: int) -> Samples:
    """Decode a recording to mono float32 [samples] in [-1, 1] at `sample_rate` Hz; channels are averaged."""
    with _opened(path) as file:
        return _mono(path, file, _info(path, file), sample_rate)


def read_pcm_blocks(path: Path, sample_rate: int) -> Iterator[Pcm]:
    """Decode a recording to mono int16 as `to_pcm16(read_audio(...))` does, in blocks: memory does not grow with it."""
    for samples in _resampled(path, sample_rate):
        if not np.isfinite(samples).all():
            raise AudioError(f"{path} holds samples that are not numbers (NaN or infinite); replace or remove it")
        yield to_pcm16(samples)


def _resampled(path: Path, sample_rate: int) -> Iterator[Samples]:
    resampler = StreamResampler(probe(path).sample_rate, sample_rate)
    for block in read_blocks(path):
        yield resampler.push(to_mono(block))
    yield resampler.finish()


def decode_audio(data: bytes, sample_rate: int, check: Callable[[AudioInfo], None]) -> Samples:
    """Decode a file in memory as `read_audio` does; `check` gets its header first, and may raise."""
    with _opened(data) as file:
        info = _info(data, file)
        check(info)
        return _mono(data, file, info, sample_rate)


def read_pcm16(path: Path, sample_rate: int) -> Pcm:
    """Decode to mono int16, as `to_pcm16(read_audio(...))` to the bit; mono 16-bit files at the rate skip floats."""
    with _opened(path) as file:
        info = _info(path, file)
        plain = (info.sample_rate, info.channels, file.subtype) == (sample_rate, 1, "PCM_16")
        if plain and len(pcm := _read(path, file, dtype="int16")) == info.frames:
            return pcm
    return to_pcm16(read_audio(path, sample_rate))  # which also says what is wrong with a file that is cut


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
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes(np.ascontiguousarray(pcm, dtype="<i2").tobytes())
    return file.getvalue()


def decode_wav(data: bytes | memoryview) -> tuple[Pcm, int]:
    """Return int16 [samples] and rate in Hz of a mono 16-bit WAV file in memory; AudioError for any other."""
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
            raise AudioError(f"cannot write {path} at {sample_rate} Hz ({_brief(error)})") from error


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


def _opened(source: Source) -> "soundfile.SoundFile":
    import soundfile

    try:
        if _is_empty(source):
            raise AudioError(f"{_name(source)} is an empty file; replace or remove it")
        return soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except OSError as error:
        raise AudioError(f"{_name(source)} cannot be opened ({error.strerror})") from error
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise AudioError(f"{_name(source)} cannot be read as audio ({_brief(error)}); replace or remove it") from error


def _is_empty(source: Source) -> bool:
    if isinstance(source, bytes):
        return not source
    with source.open("rb") as raw:
        return not raw.read(1)


def _name(source: Source) -> str:
    return "the audio" if isinstance(source, bytes) else str(source)


def _read(source: Source, file: "soundfile.SoundFile", frames: int = -1, **options: Any) -> Any:
    import soundfile

    try:
        return file.read(frames, **options)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioError(
            f"{_name(source)} breaks off while decoding ({_brief(error)}); replace or remove it"
        ) from error


def _blocks(source: Source, file: "soundfile.SoundFile", info: AudioInfo) -> Iterator[Samples]:
    done = 0
    while done < info.frames:
        block = _read(source, file, min(_BLOCK_FRAMES, info.frames - done), dtype="float32", always_2d=True)
        if not len(block):
            raise AudioError(f"{_name(source)} breaks off after {done} of {info.frames} frames; replace or remove it")
        done += len(block)
        yield block


def _mono(source: Source, file: "soundfile.SoundFile", info: AudioInfo, sample_rate: int) -> Samples:
    blocks = [to_mono(block) for block in _blocks(source, file, info)]
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.empty(0, np.float32)])
    resampled = resample(mono, info.sample_rate, sample_rate)  # which can make too large numbers infinite
    if not np.isfinite(resampled).all():
        raise AudioError(f"{_name(source)} holds samples that are not numbers (NaN or infinite); replace or remove it")
    return np.clip(resampled, -1.0, 1.0)


def _info(source: Source, file: "soundfile.SoundFile") -> AudioInfo:
    if not 0 <= file.frames < _LONGEST_FRAMES or file.samplerate <= 0:
        raise AudioError(f"{_name(source)} does not say how long it is (a stream?); write it to a file again")
    return AudioInfo(frames=file.frames, sample_rate=file.samplerate, channels=file.channels)


def _brief(error: Exception) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return str(text).rstrip(".")
