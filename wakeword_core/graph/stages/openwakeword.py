"""Models for openWakeWord and what runs its models: the heads of the judge, in files of each wake word."""

from wakeword_core.errors import WakewordError
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.graph.stages.judge import HEAD
from wakeword_core.stage_names import JUDGE, MANIFEST, OPENWAKEWORD, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact

_COMPARED_SECONDS = 60.0


def make(run: StageRun) -> None:
    """Write the files, with thresholds that are chosen on validation, and count on the test."""
    from wakeword_core.judge.alone import make_words
    from wakeword_core.judge.head import load_heads

    inputs, config = run.inputs, run.config
    heads = load_heads(inputs[JUDGE].file(HEAD), len(config.labels) - 1, config.judge.head)
    val, test = (inputs[f"audio_shards[{split}]"].path for split in ("val", "test"))
    synthetic = inputs[MANIFEST].figures["synthetic"]
    run.figures = make_words(heads, val, test, config, run.out, run.progress, synthetic)


def openwakeword_faithful(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where a runtime cannot use a file, or scores differ from torch's, on random embeddings or the test's."""
    from wakeword_core.judge.alone import largest_differences
    from wakeword_core.judge.head import load_heads

    config = run.config
    heads = load_heads(run.inputs[JUDGE].file(HEAD), len(config.labels) - 1, config.judge.head)
    shifts, shards = model.figures["log_odds_shifts"], run.inputs["audio_shards[test]"].path
    try:
        found = largest_differences(heads, shifts, config.labels, model.path, shards, _COMPARED_SECONDS)
    except WakewordError as error:
        return Verdict(False, str(error))
    largest, allowed = max(found.values()), config.export.openwakeword.max_difference
    description = f"scores in {', '.join(found)} differ from torch's by at most {largest:.2g} ({allowed:g} is allowed)"
    return Verdict(largest <= allowed, description, found)


STAGE = Stage(
    name=OPENWAKEWORD,
    version="1",
    make=make,
    inputs=(
        Input(JUDGE),
        Input("audio_shards", split="val"),
        Input("audio_shards", split="test"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=(
        "phrase",
        "labels",
        "seed",
        "data.audio",
        "evaluation.streams",
        "evaluation.conditions.tuning",
        "evaluation.detector",
        "evaluation.operating_points",
        "export.onnx.opset",
    ),
    group="delivery",
    kinds=("onnx", "tflite"),
    description=__doc__,
    checks=(
        check(
            openwakeword_faithful,
            inputs=(Input(JUDGE), Input("audio_shards", split="test")),
            limits=("export.openwakeword.max_difference",),
        ),
    ),
    optional=lambda config: config.export.openwakeword.enabled,
)
