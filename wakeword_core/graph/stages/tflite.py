"""TensorFlow Lite: the network in 8-bit integers for microcontrollers with ESPHome, and its manifest."""

import logging
from dataclasses import asdict

from wakeword_core.config import Config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.stage import CheckRun, Input, Severity, Stage, StageRun, Verdict, check
from wakeword_core.stage_names import MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

log = logging.getLogger(__name__)

_COMPARED_SECONDS, _FEWEST_SECONDS = 120.0, 60.0


def _enabled(config: Config) -> bool:
    return config.export.tflite.enabled


def make(run: StageRun) -> None:
    """Round the network to integers on training windows, choose its cutoff on validation, and count on the test.

    Nothing is made where the front end is not a microcontroller's.
    """
    from wakeword_core.export.tflite.limits import off_because

    if because := off_because(run.config):
        log.warning("There is no model for microcontrollers: %s.", because)
        run.figures = {"made": False, "because": because}
        return
    from wakeword_core.evaluation.streams.operating_points import OperatingPoints
    from wakeword_core.export.tflite.make import Material, make_tflite
    from wakeword_core.models.scoring import load_model

    calibrated = run.inputs["calibrated_model"].path
    model, _ = load_model(calibrated)
    material = Material(
        run.inputs["mel_features[train]"].path,
        run.inputs["audio_shards[val]"].path,
        run.inputs["audio_shards[test]"].path,
        run.inputs[MANIFEST].figures["synthetic"],
    )
    threshold = OperatingPoints.load(calibrated).default.threshold
    figures = make_tflite(model, threshold, material, run.config, run.out, run.progress)
    run.figures = {"made": True, **figures}


def tflite_sound(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where the file is not one that ESPHome runs, its manifest does not fit it, or it takes too much memory."""
    from wakeword_core.export.tflite.make import most_memory
    from wakeword_core.export.tflite.manifest import read_manifest
    from wakeword_core.export.tflite.sound import require_sound

    if not model.figures["made"]:
        return _nothing(model)
    name, size = model.figures["model"], model.figures["bytes"]
    try:
        require_sound(model.file(name))
        manifest = read_manifest(model.file(model.figures["manifest"]))
    except WakewordError as error:
        return Verdict(False, str(error))
    arena, platform = manifest.micro.tensor_arena_size, run.config.export.platform
    if arena > (most := most_memory(platform)):
        return Verdict(False, f"{name} runs in {arena:,} bytes, of which {platform} has {most:,} for it")
    return Verdict(True, f"{name} has {size:,} bytes, runs in {arena:,} more, and uses what ESPHome has alone")


def tflite_faithful(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where scores differ from the network's in a runtime of microcontrollers, on sound of the test.

    A file that is rounded as its network was trained is compared with the network as it was trained.
    """
    from wakeword_core.export.tflite.fake_quantize import trained_rounding
    from wakeword_core.export.tflite.manifest import read_manifest
    from wakeword_core.export.tflite.parity import compare, joined_rows
    from wakeword_core.export.tflite.quantize import TRAINED
    from wakeword_core.models.scoring import load_model

    if not model.figures["made"]:
        return _nothing(model)
    network, _ = load_model(run.inputs["calibrated_model"].path)
    stream = joined_rows(run.inputs["mel_features[test]"].path, _COMPARED_SECONDS)
    cutoff = read_manifest(model.file(model.figures["manifest"])).micro.probability_cutoff
    as_trained = model.figures.get("rounding", {}).get("chosen") == TRAINED
    rounding = trained_rounding(network) if as_trained else None
    path, shift = model.file(model.figures["model"]), model.figures["log_odds_shift"]
    found = compare(network, path, stream, cutoff, shift, rounding)
    allowed = run.config.export.tflite
    difference = max(one.mean_difference for one in found)
    agreement, seconds = min(one.agreement for one in found), min(one.seconds for one in found)
    description = (
        f"over {seconds:.0f} s of test sound, scores in {', '.join(one.runtime for one in found)} differ by at most "
        f"{difference:.4f} on average ({allowed.max_difference:g} is allowed), and {agreement:.2%} are on the same "
        f"side of the threshold ({allowed.min_agreement:.2%} at least)"
    )
    passed = difference <= allowed.max_difference and agreement >= allowed.min_agreement
    severity: Severity | None = None
    if passed and seconds < _FEWEST_SECONDS:
        passed, severity = False, "warning"
        description = f"{description}; that is less than {_FEWEST_SECONDS:.0f} s, too little to tell"
    return Verdict(passed, description, {one.runtime: asdict(one) for one in found}, severity)


def tflite_hears_the_word(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where the file misses too many words of the test at its cutoff for the model to become champion."""
    if not model.figures["made"]:
        return _nothing(model)
    figures, allowed = model.figures["rates"][f"test_{model.figures['rule']}"], run.config.checks.max_frr
    description = (
        f"{model.figures['model']} misses {figures['misses']} of {figures['words']} words at its cutoff; "
        f"{allowed:.0%} may be (checks.max_frr)"
    )
    return Verdict(figures["frr"] <= allowed, description, {"frr": figures["frr"]}, "error")


def _nothing(model: Artifact) -> Verdict:
    return Verdict(True, f"there is no model for microcontrollers: {model.figures['because']}")


STAGE = Stage(
    name="tflite_model",
    version="3",
    make=make,
    inputs=(
        Input("calibrated_model"),
        Input("mel_features", split="train"),
        Input("audio_shards", split="val"),
        Input("audio_shards", split="test"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=(
        "phrase",
        "seed",
        "data.audio",
        "evaluation.streams",
        "evaluation.conditions.tuning",
        "evaluation.detector",
        "evaluation.tuning",
        "evaluation.operating_points",
        "export.tflite",
    ),
    group="delivery",
    kinds=("tflite",),
    description=__doc__,
    checks=(
        check(tflite_sound, limits=("export.platform",)),
        check(
            tflite_faithful,
            inputs=(Input("calibrated_model"), Input("mel_features", split="test")),
            limits=("export.tflite.max_difference", "export.tflite.min_agreement"),
        ),
        check(tflite_hears_the_word, blocking=False, limits=("checks.max_frr",)),
    ),
    optional=_enabled,
)
