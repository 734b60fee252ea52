"""The front end of microcontrollers: 40 features a frame, as ESPHome's micro_wake_word computes them on the device.

Energies of mel bands, less the noise that each band has had, with an automatic gain for each band (PCAN, Wang et al.
2017), as logarithms, all in integers: TensorFlow's micro_speech. A frame depends on the sound of some seconds before
it, so that features are always of a stream. They are computed by pymicro-features, which takes 10 ms a call: some
1,000 s of audio in a second of one core, most of which is the transform itself, during which other threads go on.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import to_pcm16
from wakeword_core.config import FrontendConfig
from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command

if TYPE_CHECKING:
    import pymicro_features

Floats = npt.NDArray[np.float32]


class MicroStream:
    """Computes features of one stream, which comes in pieces; before it there was digital silence."""

    def __init__(self, frontend: FrontendConfig) -> None:
        self._frontend = frontend
        self._device = _new_device()
        self._heard = 0
        """Samples of the next piece that were in the last one, too."""

    def __call__(self, audio: npt.NDArray[np.int16] | Floats) -> Floats:
        """Transform [samples], int16 or float in [-1, 1], to [bands, frames] from 0 to 26: those that they hold whole.

        The next piece begins where the first frame does that this one does not hold whole.
        """
        hop, n_fft = self._frontend.hop_length, self._frontend.n_fft
        pcm = audio if audio.dtype == np.int16 else to_pcm16(audio.astype(np.float32, copy=False))
        values: list[float] = []
        if len(pcm) >= n_fft:
            sound, size = pcm[self._heard :].tobytes(), hop * pcm.itemsize
            for end in range(size, len(sound) + 1, size):
                values += self._device.process_samples(sound[end - size : end]).features
            self._heard = n_fft - hop
        return np.asarray(values, np.float32).reshape(-1, self._frontend.n_mels).T.copy()


class MicroFrontend:
    """Computes features of recordings, each of which is a stream; see `NumpyFrontend`, which it stands in for."""

    def __init__(self, frontend: FrontendConfig) -> None:
        self.frontend = frontend

    def __call__(self, audio: npt.NDArray[np.int16] | Floats) -> Floats:
        """Transform a stream that is there as a whole."""
        return self.stream()(audio)

    def stream(self) -> MicroStream:
        """Begin a stream. MissingDependencyError where the package is not installed."""
        return MicroStream(self.frontend)

    def clamp(self, windows: Floats) -> Floats:
        """Return windows as they are."""
        return windows

    def silence(self, frames: int) -> Floats:
        """Return frames of digital silence: [bands, frames]."""
        return np.zeros((self.frontend.n_mels, frames), np.float32)


def _new_device() -> "pymicro_features.MicroFrontend":
    try:
        from pymicro_features import MicroFrontend as Device
    except ImportError as error:
        raise MissingDependencyError(f"the front end micro needs pymicro-features: {install_command('esp')}") from error
    return Device()
