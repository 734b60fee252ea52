"""Making the files for microcontrollers: the model in integers and its manifest, and what they are worth."""

import logging
import math
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakeword_core.config import Config, Platform
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import score_streams
from wakeword_core.evaluation.streams.thresholds import logit
from wakeword_core.export.tflite.limits import LARGEST_FEATURE, MAX_ARENA, off_because, problems, untrained
from wakeword_core.export.tflite.manifest import arena_of, described, manifest_of, write_manifest
from wakeword_core.export.tflite.network import network_of
from wakeword_core.export.tflite.quantize import quantize
from wakeword_core.export.tflite.runtimes import least_arena, require_runtimes
from wakeword_core.export.tflite.sound import problems_in, require_sound
from wakeword_core.export.tflite.streams import CHOSEN_BY, RULES, DeviceStreams, device_scorer, windows_to_try
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.features.store import FeatureFile
from wakeword_core.files import replacing
from wakeword_core.progress import Progress, silent

if TYPE_CHECKING:
    from wakeword_core.models.scoring import ScoringModel

log = logging.getLogger(__name__)

_OTHERWISE = "make it smaller, or set export.tflite.enabled to false"
_BATCH = 32
_FARTHEST = 0.9
"""A threshold that is nearer to 1 than this, or as near to 0, is moved there: of 256 steps hardly any are beyond."""


@dataclass(frozen=True)
class Material:
    """What a model for microcontrollers is measured on."""

    train_features: Path
    val_shards: Path
    test_shards: Path
    synthetic: Collection[str] = ()
    """Sources that no person was recorded for."""


def require_possible(config: Config) -> None:
    """Raise an error with what to change where a model for microcontrollers is wanted, but cannot be made.

    What settings do not show is found out with the file of an untrained network: its operators, its variables and the
    memory that it runs in are those of the trained one.
    """
    _require_settings(config)
    if not off_because(config):
        _require_memory(_untrained_file(config), config.export.platform)


def _untrained_file(config: Config) -> bytes:
    """Return the file of an untrained network; ConfigError where a microcontroller could not run it."""
    network, frames = network_of(untrained(config)), config.features.row_frames("train")
    if network.receptive_field > frames:
        raise ConfigError(
            f"a score of the network of training.model depends on {network.receptive_field} frames, but training "
            f"windows have {frames}; make features.frontend.window_frames longer"
        )
    noise = np.random.default_rng(0).uniform(0.0, LARGEST_FEATURE, (1, 2 * network.receptive_field, network.bands))
    data = tflite_bytes(quantize(network, [noise]))
    if found := problems_in(data):
        raise ConfigError(f"the network of training.model does not run on a microcontroller: {found[0]}; {_OTHERWISE}")
    return data


def _require_memory(data: bytes, platform: Platform | None) -> None:
    """Raise ConfigError where a file runs in more memory than a platform, or any microcontroller, has for it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "untrained.tflite"
        path.write_bytes(data)
        arena = arena_of(least_arena(path))
    if arena > (most := most_memory(platform)):
        raise ConfigError(
            f"the network of training.model runs in {arena:,} bytes of memory, of which "
            f"{platform or 'a microcontroller'} has {most:,} for it; {_OTHERWISE}"
        )


def most_memory(platform: Platform | None) -> int:
    """Return how many bytes a model may be given to run in, on a platform or on any microcontroller."""
    from wakeword_core.export.cost import PLATFORMS

    return min(MAX_ARENA, PLATFORMS[platform].ram_bytes) if platform else MAX_ARENA


def _require_settings(config: Config) -> None:
    if found := problems(config):
        raise ConfigError(f"{found[0]}; or set export.tflite.enabled to false")
    if not off_because(config):
        require_runtimes()


def make_tflite(
    model: "ScoringModel",
    threshold: float,
    material: Material,
    config: Config,
    out: Path,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write the model and its manifest, both named by the phrase, into `out`; returns their figures.

    The ranges of its integers are those of training windows, the augmented ones among them: a microcontroller hears
    them in noise, too. Its log-odds are shifted so that `threshold`, the model's own, is among scores that 256 steps
    can tell apart. Cutoff and window are chosen on validation; the figures are of that and of the test.
    """
    _require_settings(config)
    shift = log_odds_shift(threshold)
    file = FeatureFile(material.train_features)
    windows = min(config.export.tflite.calibration_windows, len(file))
    chosen = np.linspace(0, len(file) - 1, windows).astype(int).tolist()
    rows = (file.rows(chosen[at : at + _BATCH]).transpose(0, 2, 1) for at in range(0, len(chosen), _BATCH))
    network = quantize(network_of(model).shifted(shift), rows)
    path = out / f"{config.unique_name}.tflite"
    with replacing(path) as part:
        part.write_bytes(tflite_bytes(network))
    require_sound(path)
    arena = least_arena(path)
    figures = _choose_and_test(path, network.stride, shift, material, config, progress)
    manifest = manifest_of(
        path.name,
        config.phrase,
        config.export.tflite,
        cutoff=figures["cutoff"],
        window=figures["window"],
        least_arena=arena,
    )
    written = write_manifest(manifest, out)
    return {
        "model": path.name,
        "manifest": written.name,
        "bytes": path.stat().st_size,
        "parameters": network.parameters,
        "stride_frames": network.stride,
        "log_odds_shift": shift,
        "calibration_windows": len(chosen),
        "least_arena_bytes": arena,
        **described(manifest),
        **figures,
    }


def log_odds_shift(threshold: float) -> float:
    """Return by how much log-odds are lower in the file, so that a threshold is among scores that differ there."""
    return logit(threshold) - logit(float(np.clip(threshold, 1 - _FARTHEST, _FARTHEST)))


def _choose_and_test(
    path: Path, stride: int, shift: float, material: Material, config: Config, progress: Progress
) -> dict[str, Any]:
    """Choose cutoff and window on validation, and count by each rule what they give there and on the test."""
    evaluation, scorer = config.evaluation, device_scorer(path, stride)
    splits = {}
    for split, shards in (("val", material.val_shards), ("test", material.test_shards)):
        conditions = target_conditions(evaluation.conditions)
        scores = score_streams(
            scorer,
            shards,
            config,
            progress,
            conditions,
            confusables=split == "val",  # which only a choice goes by
            short_phrases=False,
            synthetic=material.synthetic,
        )
        splits[split] = DeviceStreams(scores, evaluation, stride)
    even = 1 / (1 + math.exp(shift))
    choice = splits["val"].choose(evaluation.allowed_fah, windows_to_try(evaluation, stride), even)
    if not choice.reachable:
        log.warning(
            "no cutoff of the model for microcontrollers has as few false alarms on validation as %g an hour; its "
            "manifest has the highest", evaluation.allowed_fah,
        )  # fmt: skip
    rates = {
        f"{split}_{rule}": asdict(streams.rates(choice.cutoff, choice.window, rule))
        for split, streams in splits.items()
        for rule in RULES
    }
    return {
        **asdict(choice),
        "rule": CHOSEN_BY,
        **{f"{name}_{figure}": of[figure] for name, of in rates.items() for figure in ("frr", "fah")},
        "rates": rates,
    }
