"""The judged model: the detector and thresholds of model and judge together, set on validation, and their test."""

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
from wakeword_core.stage_names import JUDGE, MANIFEST, SYNTHETIC_FACET
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Choose thresholds on validation, and measure on the test, beside the model alone."""
    from wakeword_core.files import read_json
    from wakeword_core.judge.together import choose_together, measure_together
    from wakeword_core.runtime import WakewordModel

    inputs, config = run.inputs, run.config
    model, judge = WakewordModel(inputs["onnx_model"].file(MODEL_FILE)), inputs[JUDGE].file(JUDGE_FILE)
    val, test = (inputs[f"audio_shards[{split}]"].path for split in ("val", "test"))
    synthetic = inputs[MANIFEST].figures["synthetic"]
    together, chosen = choose_together(model, judge, val, config, run.out, run.progress, synthetic)
    alone = read_json(inputs["metrics_report"].file("metrics.json"))
    run.figures = measure_together(together, chosen, alone, test, config, run.out, run.progress, synthetic)


def judge_helps(model: Artifact, run: CheckRun) -> Verdict:
    """Warn where both miss more of the test than the model alone at as few alarms, or the judge hears much of it."""
    rows = model.figures["at_rates"]
    worse = [row for row in rows if row["frr"] > row["frr_alone_high"]]
    described = "; ".join(
        f"at {row['target_fah']:g} false alarms an hour {row['frr']:.1%} missed, {row['frr_alone']:.1%} without it"
        for row in rows
    )
    share, most = model.figures["heard_share"], run.config.checks.judge_share_warning
    heard = f"the judge hears {share:.1%} of the background"
    if share > most:
        heard += f", more than {most:.0%} (checks.judge_share_warning): raise judge.gate"
    passed = not worse and share <= most
    return Verdict(passed, f"{heard}; {described or 'no rate of false alarms can be had by both'}")


STAGE = Stage(
    name="judged_model",
    version="5",
    make=make,
    inputs=(
        Input("onnx_model"),
        Input(JUDGE),
        Input("metrics_report"),
        Input("audio_shards", split="val"),
        Input("audio_shards", split="test"),
        Input(MANIFEST, facet=SYNTHETIC_FACET),
    ),
    settings=("phrase", "seed", "data.audio", "evaluation", "judge.gate", "judge.hangover_seconds"),
    group="delivery",
    kinds=("onnx",),
    description=__doc__,
    checks=(check(judge_helps, blocking=False, limits=("checks.judge_share_warning",)),),
    optional=lambda config: config.judge.enabled,
)
