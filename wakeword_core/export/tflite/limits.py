"""What a microcontroller with ESPHome can run, and which settings go beyond it: known before anything is trained."""

from typing import TYPE_CHECKING

from wakeword_core.config import Config, DsCnnConfig, MixedNetConfig
from wakeword_core.export.tflite.network import ARCHITECTURES, LINEAR_CALIBRATIONS

if TYPE_CHECKING:
    from wakeword_core.models.scoring import ScoringModel

FRONT_END = "micro"
"""The `features.frontend.kind` that the device computes."""
BANDS = 40
"""Numbers a frame."""
LARGEST_FEATURE = 26.0
"""Features are from 0 to this, which ESPHome makes 255 steps of, whatever a model says."""
STRIDES = (1, 2, 3)
"""Frames that one run may take."""
OPERATORS = frozenset(
    (
        "CALL_ONCE", "VAR_HANDLE", "RESHAPE", "READ_VARIABLE", "STRIDED_SLICE", "CONCATENATION", "ASSIGN_VARIABLE",
        "CONV_2D", "MUL", "ADD", "MEAN", "FULLY_CONNECTED", "LOGISTIC", "QUANTIZE", "DEPTHWISE_CONV_2D",
        "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PACK", "SPLIT_V",
    )
)  # fmt: skip
"""What ESPHome has in its firmware (`streaming_model.cpp` of its micro_wake_word, from 2025.10 to 2026.10)."""
MAX_VARIABLES = 20
"""States between runs that ESPHome has room for."""
MAX_PARAMETERS = 60_000
MAX_ARENA = 256 * 2**10
"""Bytes of memory while it runs; an ESP32-S3 without more memory has not twice as much in all."""
MAX_BYTES = 256 * 2**10
"""Of a file; the largest that comes with ESPHome has 79 KiB."""


def off_because(config: Config) -> str:
    """Say why a configuration has no model for a microcontroller; an empty text where it has one."""
    if not config.export.tflite.enabled:
        return "export.tflite.enabled is off"
    kind = config.features.frontend.kind
    if kind != FRONT_END:
        return f"features.frontend.kind is {kind}, but a microcontroller has {FRONT_END} alone"
    return ""


def problems(config: Config) -> list[str]:
    """Return a sentence for each setting with which no model for a microcontroller can be made, if one is wanted."""
    if off_because(config):
        return []
    found = []
    frontend, model = config.features.frontend, config.training.model
    if frontend.bands != BANDS:
        found.append(f"a frame has {frontend.bands} numbers, but a microcontroller's has {BANDS}")
    if len(config.labels) > 2:
        words = ", ".join(config.labels[1:])
        found.append(f"a microcontroller's model has one wake word, but this one has {words}; train one for each")
    if config.evaluation.calibration.method not in LINEAR_CALIBRATIONS:
        found.append(
            f"evaluation.calibration.method is {config.evaluation.calibration.method}, which a microcontroller does "
            f"not compute; set it to {' or '.join(LINEAR_CALIBRATIONS)}"
        )
    if model.arch not in ARCHITECTURES:
        names = " or ".join(ARCHITECTURES)
        return [
            *found,
            f"training.model.arch is {model.arch}, which does not run step by step there; set it to {names}",
        ]
    if isinstance(model, DsCnnConfig) and not model.causal:
        return [*found, "training.model.causal is off, without which ds_cnn needs its window whole; set it to true"]
    if isinstance(model, MixedNetConfig | DsCnnConfig) and model.stride not in STRIDES:
        found.append(
            f"training.model.stride is {model.stride}, but a microcontroller takes at most {STRIDES[-1]} frames"
        )
    parameters = _parameters(config)
    if parameters > MAX_PARAMETERS:
        found.append(
            f"the network has {parameters:,} parameters, more than the {MAX_PARAMETERS:,} that a microcontroller is "
            "given; lower training.model.channels"
        )
    return found


def untrained(config: Config) -> "ScoringModel":
    """Return a network of a project as it is before it learnt anything; draws no random number of anybody else's."""
    import torch

    from wakeword_core.models.scoring import new_model

    with torch.random.fork_rng(devices=[]):
        return new_model(config).eval()


def _parameters(config: Config) -> int:
    from wakeword_core.models.scoring import count_parameters

    return count_parameters(untrained(config))
