"""The file for microcontrollers against the network that it was made from, in every runtime that it may meet."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import DataError
from wakeword_core.export.tflite.fake_quantize import rounded_odds
from wakeword_core.export.tflite.limits import LARGEST_FEATURE
from wakeword_core.export.tflite.manifest import STEP_MS
from wakeword_core.export.tflite.network import folded
from wakeword_core.export.tflite.quantize import Rounding
from wakeword_core.export.tflite.runtimes import RUNTIMES, run
from wakeword_core.features.store import FeatureFile

if TYPE_CHECKING:
    from wakeword_core.models.layers import StreamingBackbone
    from wakeword_core.models.scoring import ScoringModel

Stream = npt.NDArray[np.float32]
"""Frames [frames, bands]."""
_MS = 1_000


@dataclass(frozen=True)
class Parity:
    """How the scores of a runtime differ from those of the network."""

    runtime: str
    seconds: float
    """Of sound whose scores were compared."""
    mean_difference: float
    largest_difference: float
    agreement: float
    """Share of scores on the same side of the threshold."""


def compare(
    model: "ScoringModel",
    path: Path,
    stream: Stream,
    cutoff: float,
    shift: float = 0.0,
    rounding: Rounding | None = None,
) -> list[Parity]:
    """Compare a file with the network it was made from, score by score, in each runtime.

    The file's log-odds are lower by `shift`, and where it was written with a `rounding` that the network was trained
    with, so is the network. Compared are scores whose whole receptive field is in the stream. Features beyond the
    device's range are taken to be at its end, which one of the runtimes forgets.
    """
    heard = np.clip(stream, 0.0, LARGEST_FEATURE)
    backbone = cast("StreamingBackbone", model.backbone)
    expected = network_scores(model, heard[: len(heard) // backbone.stride * backbone.stride], shift, rounding)
    found = []
    for runtime in RUNTIMES:
        scores = run(runtime, path, heard)[-len(expected) :]
        difference = np.abs(scores - expected)
        found.append(
            Parity(
                runtime,
                seconds=len(expected) * backbone.stride * STEP_MS / _MS,
                mean_difference=float(difference.mean()),
                largest_difference=float(difference.max()),
                agreement=float(np.mean((scores > cutoff) == (expected > cutoff))),
            )
        )
    return found


def network_scores(
    model: "ScoringModel", stream: Stream, shift: float = 0.0, rounding: Rounding | None = None
) -> npt.NDArray[np.float64]:
    """Return what the network says at every step of a stream at which it has heard enough: [steps].

    Its log-odds count as lower by `shift`. With a `rounding` it is rounded up to them.
    """
    import torch

    backbone = cast("StreamingBackbone", model.backbone)
    if len(stream) < backbone.receptive_field_frames:
        raise DataError(
            f"{len(stream)} frames are too few to compare models that look back on {backbone.receptive_field_frames}"
        )
    with torch.inference_mode():
        frames = torch.from_numpy(np.ascontiguousarray(stream.T, np.float32))[None]
        if rounding is not None:
            odds = rounded_odds(folded(model).shifted(shift), rounding, backbone.aligned(frames))[0]
            return cast(npt.NDArray[np.float64], torch.sigmoid(odds.double()).numpy())
        logits = backbone.dense(model.normalise(frames))[0].T
        negative, word = model.calibrator(logits).double().T
        return cast(npt.NDArray[np.float64], torch.sigmoid(word - negative - shift).numpy())


def joined_rows(features: Path, seconds: float) -> Stream:
    """Join evenly spaced rows of a split's features to a stream of so many seconds, or of all that there is."""
    file = FeatureFile(features)
    wanted = int(np.ceil(seconds * _MS / STEP_MS / file.frames))
    rows = file.rows(np.linspace(0, len(file) - 1, min(wanted, len(file))).astype(int).tolist())
    return np.ascontiguousarray(rows.transpose(0, 2, 1).reshape(-1, file.n_mels))
