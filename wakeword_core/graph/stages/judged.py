"""The judged model: the detector and thresholds of model and judge together, set on validation, and their test."""

from collections.abc import Mapping
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.config.base import is_key
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.lineage.given import SECOND, GivenModel
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
from wakeword_core.stage_names import JUDGE, MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Choose thresholds on validation, and measure on the test."""
    from wakeword_core.judge.together import choose_together, measure_together
    from wakeword_core.runtime import WakewordModel

    inputs, config = run.inputs, run.config
    model, judge = WakewordModel(inputs["onnx_model"].file(MODEL_FILE)), inputs[JUDGE].file(JUDGE_FILE)
    val, test = (inputs[f"audio_shards[{split}]"].path for split in ("val", "test"))
    synthetic = inputs[MANIFEST].figures["synthetic"]
    second = run.models.get(SECOND)
    together, chosen = choose_together(model, judge, val, config, run.out, run.progress, synthetic, second)
    run.figures = measure_together(together, chosen, test, config, run.out, run.progress, synthetic)


def second_judge(config: Config) -> Mapping[str, str]:
    """Return the second judge that the configuration names, by its file, if there is one."""
    named = config.judge.second
    if named is None:
        return {}
    return {SECOND: named if is_key(named) or Path(named).suffix == ".onnx" else str(Path(named) / JUDGE_FILE)}


def _can_judge(config: Config, models: Mapping[str, GivenModel]) -> None:
    from wakeword_core.judge.together import require_second

    require_second(models[SECOND], config)


def judge_hears_little(model: Artifact, run: CheckRun) -> Verdict:
    """Warn where the judge hears much of the test's background."""
    share, most = model.figures["heard_share"], run.config.checks.judge_share_warning
    heard = f"the judge hears {share:.1%} of the background"
    if share > most:
        heard += f", more than {most:.0%} (checks.judge_share_warning): raise judge.gate"
    return Verdict(share <= most, heard, {"heard_share": share})


STAGE = Stage(
    name="judged_model",
    version="7",
    make=make,
    inputs=(
        Input("onnx_model"),
        Input(JUDGE),
        Input("audio_shards", split="val"),
        Input("audio_shards", split="test"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=(
        "phrase",
        "seed",
        "data.audio",
        "evaluation",
        "judge.gate",
        "judge.hangover_seconds",
        "judge.second_gate",
        "judge.policy",
    ),
    group="delivery",
    kinds=("onnx",),
    description=__doc__,
    checks=(check(judge_hears_little, blocking=False, limits=("checks.judge_share_warning",)),),
    models=second_judge,
    fit=_can_judge,
    optional=lambda config: config.judge.enabled,
)
