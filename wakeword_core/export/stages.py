"""What the stages of the delivery do: the settings they depend on, and the calls that build them."""

from dataclasses import asdict
from typing import Any

from wakeword_core.config import Config, Split
from wakeword_core.project import Project
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.store.artifacts import Artifact, Build

Inputs = dict[str, Artifact]


def onnx_settings(config: Config, split: Split | None) -> dict[str, Any]:
    """What the exported model depends on besides the calibrated one."""
    return config.subset("phrase", "export.opset", "export.parity_tolerance")


def make_onnx(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    """The calibrated model in one file, the same as it streams, and what both cost."""
    from wakeword_core.evaluation.sensitivities import Sensitivities
    from wakeword_core.export.cost import cpu_ms_per_second, needs
    from wakeword_core.export.onnx_export import export_onnx
    from wakeword_core.export.streaming import export_streaming
    from wakeword_core.models.scoring import load_model
    from wakeword_core.store.graph import keys_behind

    calibrated = inputs["calibrated_model"]
    model, card = load_model(calibrated.path)
    card = {
        **card,
        "phrase": project.config.phrase,
        **Sensitivities.load(calibrated.path).card(),
        "keys": {
            "onnx_model": build.key,
            "calibrated_model": calibrated.key,
            **keys_behind(project.store, calibrated),
        },
    }
    summary = export_onnx(model, card, project.config.export, build.path)
    path = build.path / MODEL_FILE
    streaming = asdict(export_streaming(path, project.config.export.parity_tolerance, build.path))
    build.figures = {
        **asdict(summary),
        **{f"streaming_{name}": value for name, value in streaming.items()},
        **{f"device_{name}": value for name, value in asdict(needs(path)).items()},
        "cpu_ms_per_s": cpu_ms_per_second(path),
    }


def int8_settings(config: Config, split: Split | None) -> dict[str, Any]:
    """What the model in integers depends on besides its inputs."""
    return config.subset("export.int8_calibration_windows", "export.int8_max_ratio", "export.int8_max_f1_drop")


def make_int8(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    """The exported model in 8-bit integers, held against it on the test split."""
    from wakeword_core.export.int8 import make_int8

    build.figures = make_int8(
        inputs["onnx_model"].file(MODEL_FILE),
        inputs["mel_features[train]"].path,
        inputs["mel_features[val]"].path,
        inputs["mel_features[test]"].path,
        project.config,
        build.path,
    )


def fp16_settings(config: Config, split: Split | None) -> dict[str, Any]:
    """What the model in float16 depends on: its inputs alone."""
    return {}


def make_fp16(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    """The exported model in float16, held against it on the test split."""
    from wakeword_core.export.float16 import make_fp16

    build.figures = make_fp16(inputs["onnx_model"].file(MODEL_FILE), inputs["mel_features[test]"].path, build.path)
