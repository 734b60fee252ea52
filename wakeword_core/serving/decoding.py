"""From the bytes of an upload to samples, with every limit checked before the work it limits."""

from wakeword_core.audio import AudioError, AudioInfo, Samples, decode_audio
from wakeword_core.serving.problems import RefusedError

MIN_RATE, MAX_RATE = 4_000, 192_000
"""Sample rates that are taken, in Hz: from telephones to studios, and a little beyond."""
_MAX_CHANNELS = 8
_MAGIC = (b"RIFF", b"fLaC", b"OggS")
_UNKNOWN_SIZE = 0x7FFF_0000
"""What writes a WAV to a pipe gives a size of about 2 or 4 GB, as it does not know it."""


def decode_upload(data: bytes, max_seconds: float, sample_rate: int) -> Samples:
    """Mono float32 [samples] in [-1, 1] at `sample_rate` Hz; RefusedError for what is not heard."""
    if data[:4] not in _MAGIC:
        raise RefusedError(
            415, "unsupported_audio", "the audio must be a WAV, FLAC or OGG file, and this is none of them"
        )
    _check_whole(data)

    def check(info: AudioInfo) -> None:
        _check_info(info, max_seconds)

    try:
        return decode_audio(data, sample_rate, check)
    except AudioError as error:
        raise RefusedError(422, "broken_audio", str(error)) from error


def check_rate(rate: int) -> None:
    """RefusedError for a sample rate that is no sound's."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise RefusedError(
            422, "sample_rate", f"the sample rate is {rate:,} Hz, but must be from {MIN_RATE:,} to {MAX_RATE:,} Hz"
        )


def _check_whole(data: bytes) -> None:
    """A WAV that is cut would pass for a shorter one."""
    announced = int.from_bytes(data[4:8], "little")
    if data[:4] == b"RIFF" and len(data) - 8 < announced < _UNKNOWN_SIZE:
        raise RefusedError(
            422, "broken_audio", f"the WAV file is cut: it announces {announced + 8:,} bytes and has {len(data):,}"
        )


def _check_info(info: AudioInfo, max_seconds: float) -> None:
    check_rate(info.sample_rate)
    if info.channels > _MAX_CHANNELS:
        raise RefusedError(
            422, "channels", f"the audio has {info.channels} channels, but may have {_MAX_CHANNELS} at most"
        )
    if info.seconds > max_seconds:
        raise RefusedError(
            413, "too_long", f"the audio is {info.seconds:,.1f} s long, but {max_seconds:g} s are allowed; send less"
        )
