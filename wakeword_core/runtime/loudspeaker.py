"""Sound to the loudspeaker, by PortAudio."""

import numpy as np
from numpy.typing import NDArray

from wakeword_core.errors import DataError
from wakeword_core.runtime.microphone import portaudio


def play(samples: NDArray[np.float32], sample_rate: int) -> None:
    """Play sound, float32 [samples] in [-1, 1], to its end.

    MissingDependencyError without sounddevice or PortAudio; DataError where there is no loudspeaker.
    """
    sounddevice = portaudio("the loudspeaker")
    try:
        sounddevice.play(samples, sample_rate, blocking=True)
    except sounddevice.PortAudioError as error:
        raise DataError(f"there is no loudspeaker to play sound with ({error}); connect one, or write files") from error
