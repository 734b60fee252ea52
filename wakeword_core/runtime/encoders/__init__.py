"""Encoders of speech that a judge may rest on: what each is to the rest of the program, and those that lie in a folder.

Google's speech embedding is part of a judge's file. The others are too large for that: they lie in the folder `encoder`
beside `judge.onnx`, are run by libraries of their own, and need a window whole.
"""

import functools
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError
from wakeword_core.files import content_hash, digest
from wakeword_core.text import printable

FolderEncoderName = Literal["whisper", "transformers"]
"""Those that lie in a folder; each is a module here."""
STEP_SAMPLES = 1_280
"""Samples of a step: 80 ms at 16 kHz, as Google's speech embedding has them."""
WINDOW_STEPS = 18
"""Steps of a window: 1.44 s, about as much as a judge on that embedding hears before it answers."""
WINDOW_SAMPLES = WINDOW_STEPS * STEP_SAMPLES
SAMPLE_RATE = 16_000

FILES: dict[FolderEncoderName, tuple[str, ...]] = {
    "whisper": ("config.json", "model.bin"),
    "transformers": ("config.json", "model.safetensors"),
}
"""Files that an encoder is; weights in another form are not read, since those of pickle could run anything."""
PREPROCESSOR = "preprocessor_config.json"
_BESIDES = (PREPROCESSOR, "vocabulary.json", "vocabulary.txt")
"""Files that may be there besides; Whisper cannot be loaded without its vocabulary, in either form."""
NOT_STATED = "not stated"
_README, _README_HEAD = "README.md", 10_000
_LONGEST_LICENCE = 200

Floats = npt.NDArray[np.float32]


class Encoder(Protocol):
    """A frozen network that was trained on a great deal of speech: sound in, some numbers every step out."""

    name: str
    sample_rate: int
    numbers: int
    """Of a step."""
    step_samples: int
    window_samples: int
    """Samples that a judge's answer rests on."""
    whole_windows: bool
    """Whether steps also rest on the sound after them, so that each answer takes a window that is encoded anew."""
    licence: str
    content: str
    """Hash of all that its numbers depend on besides the sound."""

    def steps_of(self, samples: int) -> int:
        """Count the steps that clips of so many samples give."""
        ...

    def encode(self, sound: Floats) -> Floats:
        """Map clips float32 [batch, samples] in [-1, 1] to float32 [batch, steps, numbers]; the last step ends them."""
        ...


def encoder_files(name: FolderEncoderName, folder: Path) -> tuple[Path, ...]:
    """Return the files in a folder that an encoder is, whether they are there or not."""
    besides = [folder / file for file in _BESIDES if (folder / file).is_file()]
    return (*(folder / file for file in FILES.get(name, ())), *besides)


def licence_of(folder: Path) -> str:
    """Return the licence that the head of a folder's README names, as those of Hugging Face do."""
    readme = folder / _README
    if not readme.is_file():
        return NOT_STATED
    with readme.open(encoding="utf-8", errors="replace") as file:
        head = file.read(_README_HEAD).splitlines()
    named = [line.partition(":")[2].strip() for line in head if line.startswith("license:")]
    return printable(named[0])[:_LONGEST_LICENCE] if named and named[0] else NOT_STATED


def open_encoder(name: FolderEncoderName, folder: Path, content: str = "", threads: int = 1) -> Encoder:
    """Load an encoder, once a process; ArtifactError where it is another than the one of that `content`.

    MissingDependencyError says what to install.
    """
    files, module = encoder_files(name, folder), _module(name)
    for path in files:
        if not path.is_file():
            raise ArtifactError(f"{folder} is no encoder of kind {name}: it has no {path.name}; {module.WANTED}")
    found = digest([name, module.WAY, {path.name: content_hash(path) for path in files}])
    if content and found != content:
        raise ArtifactError(
            f"{folder} holds another encoder than the judge was trained on; put back the one that came with it, or "
            "build the judge again"
        )
    return _loaded(name, folder, found, threads)


@functools.lru_cache(maxsize=4)
def _loaded(name: FolderEncoderName, folder: Path, content: str, threads: int) -> Encoder:
    encoder: Encoder = _module(name).load(folder, content, threads)
    return encoder


def _module(name: FolderEncoderName):  # type: ignore[no-untyped-def]  # each has WANTED, WAY and load
    return import_module(f"{__name__}.{name}")


def steps_in(frames: int, samples: int) -> int:
    """Count the whole steps in frames of so many samples each."""
    return frames // (STEP_SAMPLES // samples)


def in_steps(frames: Floats, samples: int) -> Floats:
    """Average frames float32 [batch, frames, numbers] of `samples` each over steps: [batch, steps, numbers].

    The last step ends with the last frame; frames at the beginning that fill no step are left out.
    """
    each, steps = STEP_SAMPLES // samples, steps_in(frames.shape[1], samples)
    kept = frames[:, frames.shape[1] - steps * each :]
    means: Floats = kept.reshape(len(frames), steps, each, -1).mean(axis=2)
    return means
