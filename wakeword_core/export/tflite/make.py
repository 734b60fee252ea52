"""Making the files for microcontrollers: the model in integers and its manifest, and what they are worth."""

import logging
import math
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wakeword_core.config import Config, Platform, Split
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.scores import score_streams
from wakeword_core.evaluation.streams.thresholds import logit
from wakeword_core.export.tflite.fake_quantize import trained_integers
from wakeword_core.export.tflite.limits import LARGEST_FEATURE, MAX_ARENA, off_because, problems, untrained
from wakeword_core.export.tflite.manifest import arena_of, described, manifest_of, write_manifest
from wakeword_core.export.tflite.network import network_of
from wakeword_core.export.tflite.quantize import AFTERWARDS, TRAINED, IntegerNetwork, quantize
from wakeword_core.export.tflite.runtimes import least_arena, require_runtimes
from wakeword_core.export.tflite.sound import problems_in, require_sound
from wakeword_core.export.tflite.streams import CHOSEN_BY, RULES, Choice, DeviceStreams, device_scorer, windows_to_try
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


@dataclass(frozen=True)
class OnValidation:
    """What a way of rounding is worth on validation."""

    reachable: bool
    """Whether there is a cutoff with as few false alarms as are allowed."""
    words: int
    misses: int
    false_alarms: int


@dataclass(frozen=True)
class _Tried:
    """A network in integers, its scores on validation, and what was chosen by them."""

    network: IntegerNetwork
    streams: DeviceStreams
    choice: Choice

    @property
    def validation(self) -> OnValidation:
        rates = self.streams.rates(self.choice.cutoff, self.choice.window, CHOSEN_BY)
        return OnValidation(self.choice.reachable, rates.words, rates.misses, rates.false_alarms)


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
    them in noise, too. Where it was trained with others, those are tried as well. Its log-odds are shifted so that
    `threshold`, the model's own, is among scores that 256 steps can tell apart. Rounding, cutoff and window are chosen
    on validation; the figures are of that and of the test.
    """
    _require_settings(config)
    shift = log_odds_shift(threshold)
    file = FeatureFile(material.train_features)
    windows = min(config.export.tflite.calibration_windows, len(file))
    chosen = np.linspace(0, len(file) - 1, windows).astype(int).tolist()
    rows = (file.rows(chosen[at : at + _BATCH]).transpose(0, 2, 1) for at in range(0, len(chosen), _BATCH))
    network, trained = quantize(network_of(model).shifted(shift), rows), trained_integers(model, shift)
    path = out / f"{config.unique_name}.tflite"
    tried = {AFTERWARDS: _try_out(network, path, shift, material, config, progress)}
    if trained is not None:
        tried[TRAINED] = _try_out(trained, path, shift, material, config, progress)
    rounding = best_rounding({name: one.validation for name, one in tried.items()})
    if trained is not None:
        _write(tried[rounding].network, path)
    figures = _tested(tried[rounding], path, material, config, progress)
    if trained is not None:
        figures["rounding"] = {"chosen": rounding, **{name: asdict(one.validation) for name, one in tried.items()}}
    arena = least_arena(path)
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
        "parameters": tried[rounding].network.parameters,
        "stride_frames": tried[rounding].network.stride,
        "log_odds_shift": shift,
        "calibration_windows": len(chosen),
        "least_arena_bytes": arena,
        **described(manifest),
        **figures,
    }


def log_odds_shift(threshold: float) -> float:
    """Return by how much log-odds are lower in the file, so that a threshold is among scores that differ there."""
    return logit(threshold) - logit(float(np.clip(threshold, 1 - _FARTHEST, _FARTHEST)))


def best_rounding(tried: Mapping[str, OnValidation]) -> str:
    """Return the name of the way of rounding that does best on validation, the first of equals."""
    return min(tried, key=lambda name: (not tried[name].reachable, tried[name].misses, tried[name].false_alarms))


def _write(network: IntegerNetwork, path: Path) -> None:
    with replacing(path) as part:
        part.write_bytes(tflite_bytes(network))
    require_sound(path)


def _try_out(
    network: IntegerNetwork, path: Path, shift: float, material: Material, config: Config, progress: Progress
) -> _Tried:
    """Write a network to `path`, and choose cutoff and window for it on validation."""
    _write(network, path)
    evaluation = config.evaluation
    streams = _streams("val", material.val_shards, path, network.stride, material, config, progress)
    even = 1 / (1 + math.exp(shift))
    choice = streams.choose(evaluation.allowed_fah, windows_to_try(evaluation, network.stride), even)
    return _Tried(network, streams, choice)


def _tested(tried: _Tried, path: Path, material: Material, config: Config, progress: Progress) -> dict[str, Any]:
    """Count by each rule what the file that was chosen gives on validation and on the test."""
    choice, stride = tried.choice, tried.network.stride
    if not choice.reachable:
        log.warning(
            "no cutoff of the model for microcontrollers has as few false alarms on validation as %g an hour; its "
            "manifest has the highest", config.evaluation.allowed_fah,
        )  # fmt: skip
    test = _streams("test", material.test_shards, path, stride, material, config, progress)
    rates = {
        f"{split}_{rule}": asdict(streams.rates(choice.cutoff, choice.window, rule))
        for split, streams in (("val", tried.streams), ("test", test))
        for rule in RULES
    }
    return {
        **asdict(choice),
        "rule": CHOSEN_BY,
        **{f"{name}_{figure}": of[figure] for name, of in rates.items() for figure in ("frr", "fah")},
        "rates": rates,
    }


def _streams(
    split: Split, shards: Path, path: Path, stride: int, material: Material, config: Config, progress: Progress
) -> DeviceStreams:
    """Return the scores of a file on the streams of a split."""
    scores = score_streams(
        device_scorer(path, stride),
        shards,
        config,
        progress,
        target_conditions(config.evaluation.conditions),
        confusables=split == "val",  # which only a choice goes by
        short_phrases=False,
        synthetic=material.synthetic,
    )
    return DeviceStreams(scores, config.evaluation, stride)
