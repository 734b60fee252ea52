"""The report: the exported model on continuous audio from recordings that nobody trained or tuned on."""

from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, never
from wakeword_core.stage_names import CHAMPION
from wakeword_core.store.artifacts import Artifact


def make(run: StageRun) -> None:
    """Measure the model as it ships, and write the page."""
    from wakeword_core.evaluation.report.figures import VOLATILE, final_test
    from wakeword_core.training.records import HISTORY, history_curve

    previous, of_champion = _report_to_compare_with(run)
    run.figures = final_test(
        run.config,
        run.inputs,
        history_curve(run.inputs["trained_model"].file(HISTORY), run.config.training.validation.max_fpr),
        run.out,
        run.progress,
        previous.path if previous else None,
        of_champion=of_champion,
    )
    run.volatile = set(VOLATILE)


def _report_to_compare_with(run: StageRun) -> tuple[Artifact | None, bool]:
    """Return the champion's report, else the newest of the same phrase, and whether it is the champion's."""
    earlier = [
        report
        for report in run.store.all("metrics_report")
        if report.config["phrase"] == run.config.phrase and report.key != run.key
    ]
    champion = run.inputs.get(CHAMPION)
    champions = [report for report in earlier if champion and report.inputs["onnx_model"]["key"] == champion.key]
    return next(reversed(champions or earlier), None), bool(champions)


def hears_the_word(report: Artifact, run: CheckRun) -> Verdict:
    """Fail where too many words of the test are missed for the model to become champion."""
    figures, allowed = report.figures, run.config.checks.max_frr
    description = f"{figures['misses']} of {figures['words']} words missed; {allowed:.0%} may be (checks.max_frr)"
    return Verdict(figures["frr"] <= allowed, description, {"frr": figures["frr"]}, "error")


def enough_background(report: Artifact, run: CheckRun) -> Verdict:
    """Warn where the test is too short to show the target of false alarms."""
    figures = report.figures
    hours, target = figures["background_hours"], run.config.evaluation.allowed_fah
    enough = hours * target >= 1.0
    alarms = figures["false_alarms"]
    description = f"{alarms} false alarm{'s' * (alarms != 1)} in {hours:.2f} h of background"
    if not enough:
        description += f"; too few hours to show the target of {target:g} an hour"
    return Verdict(enough, description, {"background_hours": hours})


def judge_helps(report: Artifact, run: CheckRun) -> Verdict:
    """Warn where model and judge miss more of the test than the model alone at as few false alarms."""
    if "at_rates" not in report.figures:
        return Verdict(True, "the model has no judge")
    rows = report.figures["at_rates"]
    worse = [row for row in rows if row["frr"] > row["frr_alone_high"]]
    described = "; ".join(
        f"at {row['target_fah']:g} false alarms an hour {row['frr']:.1%} missed, {row['frr_alone']:.1%} without it"
        for row in rows
    )
    return Verdict(not worse, described or "no rate of false alarms can be had by both")


STAGE = Stage(
    name="metrics_report",
    version="11",
    make=make,
    inputs=(
        Input("onnx_model"),
        Input("calibrated_model"),
        Input("trained_model"),
        Input("tuned_model"),
        Input("mel_features", split="train"),
        Input("mel_features", split="test"),
        Input("audio_shards", split="train"),
        Input("audio_shards", split="test"),
        Input("raw_manifest", facet="summary"),
        Input("tflite_model"),
        Input("judged_model"),
        Input(CHAMPION, decides=never),  # it is only shown beside
    ),
    settings=("phrase", "seed", "data.audio", "data.health.vad_threshold", "evaluation"),
    group="delivery",
    kinds=("onnx", "html"),
    description=__doc__,
    checks=(
        check(hears_the_word, blocking=False, limits=("checks.max_frr",)),
        check(enough_background, blocking=False, limits=("evaluation.operating_points",)),
        check(judge_helps, blocking=False),
    ),
)
