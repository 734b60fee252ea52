"""What each stage of the graph does: its inputs, the settings it depends on, and the call that builds it."""

import shutil
from dataclasses import asdict
from typing import Any

from wakeword_core.config import SPLITS, Config, Split
from wakeword_core.config.training import deciding_settings
from wakeword_core.errors import DataError
from wakeword_core.export.bundle import BUNDLE_INPUTS, bundle_settings, make_bundle
from wakeword_core.export.stages import fp16_settings, int8_settings, make_fp16, make_int8, make_onnx, onnx_settings
from wakeword_core.files import digest
from wakeword_core.mining.stages import make_mined, make_tuned, mining_settings, tuning_settings
from wakeword_core.project import RAW_AUDIO, Input, Project, Stage
from wakeword_core.registry.stages import COMPARISON_INPUTS, comparison_settings, make_comparison
from wakeword_core.store.artifacts import Artifact, Build

Inputs = dict[str, Artifact]

_STREAM_SETTINGS = ("seed", "data.sample_rate", "data.silence_dbfs")
"""What continuous test audio depends on, besides the recordings."""
_TEST_ONLY = (
    "stream_snr_db",
    "far_snr_db",
    "far_rooms",
    "far_rt60_seconds",
    "fah_points",
    "tta_shifts_ms",
    "report_clips",
    "report_suspicious_clips",
    "report_clip_seconds",
)
"""Settings of the evaluation that nothing on validation looks at."""


def _device(config: Config) -> str:
    from wakeword_core.training.device import choose_device

    return choose_device(config.training.device)


# --- synthetic_speech


def _speech_settings(config: Config, split: Split | None) -> dict[str, Any]:
    return config.subset("phrase", "seed", "synthesis", "data.sample_rate")


def _make_speech(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.speech.synthesis import synthesize

    config = project.config
    summary = synthesize(
        config.phrase,
        config.synthesis,
        config.data.sample_rate,
        config.seed,
        build.path,
        project.progress,
        config.data.workers,
    )
    build.figures = asdict(summary)


# --- raw_manifest


def _manifest_settings(config: Config, split: Split | None) -> dict[str, Any]:
    settings = config.subset("phrase", "seed", "data")
    for name in ("workers", "missing_source"):
        settings["data"].pop(name)
    # where a folder lies and how its files are picked shows in the listing's fingerprint already
    for source in settings["data"]["sources"]:
        for name in ("path", "include", "exclude", *(one for one in ("labels", "words") if not source[one])):
            source.pop(name)
    return settings


def _make_manifest(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.recordings.health_picture import health_picture
    from wakeword_core.recordings.manifest import (
        FINGERPRINTS,
        build_manifest,
        quarantined,
        read_manifest,
        sources_facet,
        split_facets,
    )

    config, fingerprint = project.config, project.fingerprint()
    summary = build_manifest(
        project.sources(),
        config.data,
        config.phrase,
        config.seed,
        project.scan_cache(),
        build.path,
        project.progress,
        project.forgotten(),
    )
    # follows from the recordings, but for the rounding of another processor
    build.volatile = {FINGERPRINTS}
    if project.fingerprint(fresh=True) != fingerprint:
        raise DataError("recordings changed while they were being read; run again when they are at rest")
    (build.path / "health_picture.png").write_bytes(health_picture(summary))
    build.figures = asdict(summary)
    build.facets = {
        **split_facets(read_manifest(build.path)),
        "summary": digest([build.figures, quarantined(build.path)]),
        "sources": sources_facet(read_manifest(build.path)),
    }


# --- audio_shards[split]


def _shards_settings(config: Config, split: Split | None) -> dict[str, Any]:
    settings = config.subset("seed", "data.sample_rate", "shards")
    settings["shards"].pop("retries")
    return {**settings, "split": split}


def _make_shards(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.shards.packed_split import build_shards

    config = project.config
    summary = build_shards(
        read_manifest(inputs["raw_manifest"].path, split=split),
        {source.name: source.root for source in project.sources()},
        config.data.sample_rate,
        config.shards,
        config.data.workers,
        config.seed,
        build.path,
        build.parts,
        project.progress,
    )
    build.figures = {"split": split, **asdict(summary)}


# --- mel_features[split]


def _features_settings(config: Config, split: Split | None) -> dict[str, Any]:
    from wakeword_core.features.settings import feature_settings

    return feature_settings(config, split or "train")


def _make_features(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.features.build import build_features
    from wakeword_core.features.picture import sample_mels

    assert split is not None
    build.device = _device(project.config)
    summary = build_features(
        inputs[f"audio_shards[{split}]"].path,
        split,
        project.config,
        build.device,
        build.path,
        build.parts,
        project.progress,
    )
    # a view of the parts: its bytes differ from one build to the next, while what is in it does not
    build.volatile = {f"{split}.h5"}
    (build.path / "mels.png").write_bytes(sample_mels(build.path, project.config))
    figures = asdict(summary)
    timings = figures.pop("timings")
    build.figures = {"split": split, **figures, **timings}


# --- cmvn_stats


def _no_settings(config: Config, split: Split | None) -> dict[str, Any]:
    return {}


def _make_cmvn(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.features.cmvn import measure
    from wakeword_core.features.store import FeatureFile

    cmvn, frames = measure(FeatureFile(inputs["mel_features[train]"].path), project.progress)
    cmvn.save(build.path / "cmvn.json")
    build.figures = {
        "frames": frames,
        "mean_of_means": float(cmvn.mean.mean()),
        "mean_deviation": float(cmvn.std.mean()),
    }


# --- trained_model


def _training_settings(config: Config, split: Split | None) -> dict[str, Any]:
    settings = config.subset("phrase", "seed", "model", "training", "features.frontend", "data.sample_rate")
    decides = {"training": deciding_settings(settings["training"])}
    return {**settings, **decides, "labels": list(config.labels)}


def _validation_decides(config: Config) -> bool:
    """Whether the weights depend on validation: by the epoch that is kept, or by when the learning rate drops."""
    return config.training.keep == "best" or config.training.schedule == "plateau"


def _make_model(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import load_windows
    from wakeword_core.training.fit import train
    from wakeword_core.training.records import CURVE, HISTORY, history_curve
    from wakeword_core.training.run import CHECKPOINTS

    build.device = _device(project.config)
    summary = train(
        load_windows(inputs["mel_features[train]"].path),
        load_windows(inputs["mel_features[val]"].path),
        Cmvn.load(inputs["cmvn_stats"].file("cmvn.json")),
        project.config,
        build.path,
        project.progress,
        project.on_epoch or (lambda record: None),
    )
    (build.path / CURVE).write_bytes(history_curve(build.path / HISTORY))
    # of validation, too, which need not have a part in the weights
    build.volatile = {HISTORY, CURVE}
    build.figures = asdict(summary)
    # not before everything else is written: until then a killed build goes on from its last epoch
    shutil.rmtree(build.path / CHECKPOINTS)


# --- tuned_model


def _models_are_tuned(config: Config) -> bool:
    return config.mining.enabled


def _validation_decides_on_tuning(config: Config) -> bool:
    return config.mining.enabled and (config.mining.keep == "better" or _validation_decides(config))


def _tuning_settings(config: Config, split: Split | None) -> dict[str, Any]:
    return tuning_settings(config, _training_settings(config, split))


# --- calibrated_model


def _calibration_settings(config: Config, split: Split | None) -> dict[str, Any]:
    settings = config.subset("evaluation", *_STREAM_SETTINGS)
    for name in _TEST_ONLY:
        settings["evaluation"].pop(name)
    return settings


def _make_calibrated(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.evaluation.operating import calibrate_model

    build.figures = calibrate_model(
        inputs["tuned_model"].path,
        inputs["mel_features[val]"].path,
        inputs["audio_shards[val]"].path,
        project.config,
        build.path,
        project.progress,
    )


# --- metrics_report


def _report_settings(config: Config, split: Split | None) -> dict[str, Any]:
    return config.subset("evaluation", "phrase", *_STREAM_SETTINGS)


def _make_report(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    from wakeword_core.evaluation.final import VOLATILE, final_test
    from wakeword_core.training.records import HISTORY, history_curve

    # what the report is compared with has no part in its key: the champion's, else the newest of the same phrase
    earlier = [
        one
        for one in project.store.all("metrics_report")
        if one.config["phrase"] == project.config.phrase and one.key != build.key
    ]
    champion = project.opponent()
    champions = [one for one in earlier if champion and one.inputs["onnx_model"]["key"] == champion.key]
    previous = next((one.path for one in reversed(champions or earlier)), None)
    build.figures = final_test(
        project.config,
        inputs,
        history_curve(inputs["trained_model"].file(HISTORY)),
        build.path,
        project.progress,
        previous,
        of_champion=bool(champions),
    )
    build.volatile = set(VOLATILE)


STAGES: tuple[Stage, ...] = (
    Stage("synthetic_speech", (), _speech_settings, _make_speech, "1", optional=lambda c: c.synthesis.enabled),
    Stage("raw_manifest", (Input(RAW_AUDIO), Input("synthetic_speech")), _manifest_settings, _make_manifest, "3"),
    Stage(
        "audio_shards",
        (Input("raw_manifest", facet="split"),),
        _shards_settings,
        _make_shards,
        "1",
        partitioned=True,
    ),
    Stage(
        "mel_features",
        (Input("audio_shards", split="same"),),
        _features_settings,
        _make_features,
        "2",
        partitioned=True,
    ),
    Stage("cmvn_stats", (Input("mel_features", split="train"),), _no_settings, _make_cmvn, "1"),
    Stage(
        "trained_model",
        (
            Input("mel_features", split="train"),
            Input("mel_features", split="val", decides=_validation_decides),
            Input("cmvn_stats"),
        ),
        _training_settings,
        _make_model,
        "3",
        resumable=True,
    ),
    Stage(
        "mined_negatives",
        (Input("trained_model"), Input("audio_shards", split="train")),
        mining_settings,
        make_mined,
        "1",
    ),
    Stage(
        "tuned_model",
        (
            Input("trained_model"),
            Input("mined_negatives"),
            Input("audio_shards", split="train", decides=_models_are_tuned),
            Input("mel_features", split="train"),
            Input("mel_features", split="val", decides=_validation_decides_on_tuning),
            Input("cmvn_stats"),
        ),
        _tuning_settings,
        make_tuned,
        "2",
        resumable=True,
    ),
    Stage(
        "calibrated_model",
        (Input("tuned_model"), Input("mel_features", split="val"), Input("audio_shards", split="val")),
        _calibration_settings,
        _make_calibrated,
        "4",
    ),
    Stage("onnx_model", (Input("calibrated_model"),), onnx_settings, make_onnx, "5"),
    Stage(
        "metrics_report",
        (
            Input("onnx_model"),
            Input("calibrated_model"),
            Input("trained_model"),
            Input("tuned_model"),
            Input("mel_features", split="train"),
            Input("mel_features", split="test"),
            Input("audio_shards", split="train"),
            Input("audio_shards", split="test"),
            Input("raw_manifest", facet="summary"),
        ),
        _report_settings,
        _make_report,
        "5",
    ),
    Stage(
        "int8_model",
        (Input("onnx_model"), *(Input("mel_features", split=one) for one in SPLITS)),
        int8_settings,
        make_int8,
        "4",
    ),
    Stage(
        "fp16_model",
        (Input("onnx_model"), Input("mel_features", split="test")),
        fp16_settings,
        make_fp16,
        "1",
    ),
    Stage("model_bundle", BUNDLE_INPUTS, bundle_settings, make_bundle, "2"),
    Stage("champion_comparison", COMPARISON_INPUTS, comparison_settings, make_comparison, "1"),
)
"""The graph in build order."""
