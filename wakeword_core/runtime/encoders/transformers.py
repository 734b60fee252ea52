"""Encoders of the library transformers that take sound as it is: wav2vec 2.0, HuBERT and WavLM, from a local folder."""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakeword_core.errors import ArtifactError, MissingDependencyError, reason_of
from wakeword_core.files import read_json
from wakeword_core.python import install_command
from wakeword_core.runtime.encoders import (
    PREPROCESSOR,
    SAMPLE_RATE,
    STEP_SAMPLES,
    WINDOW_SAMPLES,
    Floats,
    in_steps,
    licence_of,
    steps_in,
)

if TYPE_CHECKING:
    from torch import nn

KINDS = ("wav2vec2", "hubert", "wavlm")
WANTED = f"name a folder with a model of {', '.join(KINDS)} as transformers saves it, in safetensors"
WAY = 1
"""Raise it when the same files give other numbers."""
_LEAST_POWER = 1e-7
_FOR_TRAINING = {"masked_spec_embed"}
"""Weights that only training uses, which some files lack."""


class TransformersEncoder:
    """The last layer of such a model: the mean of its frames over each step."""

    name = "transformers"
    sample_rate, step_samples, window_samples = SAMPLE_RATE, STEP_SAMPLES, WINDOW_SAMPLES
    whole_windows = True

    def __init__(self, model: "nn.Module", levelled: bool, licence: str, content: str) -> None:
        self.model, self.levelled = model, levelled
        self.licence, self.content = licence, content
        config: Any = model.config
        self.numbers, self.frame_samples = int(config.hidden_size), prod(config.conv_stride)
        self.layers = int(config.num_hidden_layers)
        self._kernels = tuple(zip(config.conv_kernel, config.conv_stride, strict=True))

    def steps_of(self, samples: int) -> int:
        """Count the steps of so many samples: a frame rests on more of them than it takes."""
        for kernel, stride in self._kernels:
            samples = (samples - kernel) // stride + 1
        return steps_in(samples, self.frame_samples)

    def encode(self, sound: Floats) -> Floats:
        """Encode clips, each at one level where the model was trained so."""
        return in_steps(self.frames(sound), self.frame_samples)

    def frames(self, sound: Floats) -> Floats:
        """Map clips to the frames that steps are means of: float32 [batch, frames, numbers]."""
        import torch

        if self.levelled:
            power = sound.var(axis=1, keepdims=True) + _LEAST_POWER
            sound = (sound - sound.mean(axis=1, keepdims=True)) / np.sqrt(power)
        with torch.inference_mode():
            heard = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
            frames: Floats = self.model(heard).last_hidden_state.numpy()
        return frames


def load(folder: Path, content: str, threads: int) -> TransformersEncoder:
    """Load the encoder from these files alone; its threads are those of torch, which all share.

    MissingDependencyError without the library, ArtifactError for a folder that is of another kind.
    """
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ImportError as error:
        why = f"a judge on an encoder of transformers needs that library: {install_command('transformers')}"
        raise MissingDependencyError(why) from error
    try:
        config = read_json(folder / "config.json")
        if config.get("model_type") not in KINDS:
            raise ValueError(f"it is of the kind {config.get('model_type')!r}")
        extraction = read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
        _require_rate(config, extraction)
        logging.disable_progress_bar()  # one for each file, among what a build says
        options = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
        model, loaded = AutoModel.from_pretrained(folder, output_loading_info=True, **options)
        if missing := sorted(set(loaded["missing_keys"]) - _FOR_TRAINING):  # which the library would draw at random
            raise ValueError(f"its weights lack {missing[0]}")
    except Exception as error:  # those of the library, at settings of anybody, have no common base
        raise ArtifactError(f"{folder} cannot be used as an encoder ({reason_of(error)}); {WANTED}") from error
    return TransformersEncoder(
        model.eval().float(), bool(extraction.get("do_normalize", False)), licence_of(folder), content
    )


def _require_rate(config: dict[str, Any], extraction: dict[str, Any]) -> None:
    """Raise ValueError for another rate than ours, or frames of which no whole number is a step."""
    rate, frame = extraction.get("sampling_rate", SAMPLE_RATE), prod(config["conv_stride"])
    if rate != SAMPLE_RATE:
        raise ValueError(f"it hears {rate} Hz and not {SAMPLE_RATE}")
    if STEP_SAMPLES % frame:
        raise ValueError(f"its frames are {frame} samples, of which none make {STEP_SAMPLES}")
