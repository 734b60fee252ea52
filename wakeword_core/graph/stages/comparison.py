"""The comparison: what ships of the new model beside the champion on the same test, and whether it takes its place."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wakeword_core.config import Config, RegistryConfig
from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.files import write_json
from wakeword_core.graph.stage import CheckRun, Input, Severity, Stage, StageRun, Verdict, check
from wakeword_core.graph.stages.bundle import MODEL_FACET
from wakeword_core.stage_names import CAPTURED_FACET, CHAMPION, MANIFEST
from wakeword_core.store.artifacts import Artifact, ArtifactStore

if TYPE_CHECKING:
    from wakeword_core.registry.trial import Contrast, TestRun
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.judge import JudgedModel

log = logging.getLogger(__name__)

FILE = "comparison.json"
PICTURE = "trade_off.png"
_TEST = "audio_shards[test]"
_LEARNT = ("train", "val")
_DIGITS = 6


def make(run: StageRun) -> None:
    """Write `comparison.json` and, where there is a champion that can be heard, a picture of both trade-offs."""
    champion = run.inputs.get(CHAMPION)
    if champion is None:
        outcome = _not_compared("", "there is no champion to compare it with")
    elif reason := _cannot_be_heard(champion, run.config):
        outcome = _not_compared(champion.key, f"it cannot be compared with the champion {champion.key}: {reason}")
    else:
        outcome = _compared(run, champion)
    write_json(run.out / FILE, outcome)
    run.figures = {name: outcome[name] for name in ("opponent", "compared", "passed", "sentence", "table")}


def _not_compared(opponent: str, sentence: str) -> dict[str, Any]:
    # where there is no champion, the model is not worse than one
    return {"opponent": opponent, "compared": False, "passed": not opponent, "sentence": sentence, "table": []}


def _cannot_be_heard(champion: Artifact, config: Config) -> str:
    from wakeword_core.registry.trial import incomparable
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.exported import MODEL_FILE

    _require_whole(champion, champion.key)
    try:
        model = WakewordModel(champion.file(MODEL_FILE))
        return incomparable(model, config.data.audio.sample_rate, config.labels)
    except WakewordError as error:
        return str(error)


def _require_whole(artifact: Artifact, champion: str) -> None:
    if artifact.damaged(read=True):
        raise ArtifactError(
            f"the files of the champion {champion} are damaged, so that nothing can be held against it; restore "
            f"{artifact.path} from a backup, or go back to the champion before it with `wakeword rollback`"
        )


def _compared(run: StageRun, champion: Artifact) -> dict[str, Any]:
    from wakeword_core.evaluation.measure.plots import Marked, det_curve
    from wakeword_core.registry.trial import contrasts, run_test

    config, shards = run.config, run.inputs[_TEST].path
    mine, theirs = (
        run_test(_as_shipped(model, judged), shards, config, run.progress)
        for model, judged in (
            (run.inputs["onnx_model"], run.inputs.get("judged_model")),
            (champion, _of_champion(run, champion, "judged_model")),
        )
    )
    rows = contrasts(mine, theirs, config.evaluation.allowed_fah, config.registry) + compare_devices(run, champion)
    learnt = len(mine.recording_ids & _learnt_by(run.store, champion))
    marked = {
        f"{name}, as shipped": Marked(test.target.target_fah, test.shipped.frr, test.shipped.fah)
        for name, test in (("candidate", mine), ("champion", theirs))
    }
    hours = mine.shipped.background_hours
    picture = det_curve(mine.curve, marked, hours, name="candidate", beside={"champion": theirs.curve})
    (run.out / PICTURE).write_bytes(picture)
    return {
        "opponent": champion.key,
        "compared": True,
        "passed": not any(row.worse(config.registry) for row in rows),
        "sentence": _sentence(mine, theirs, rows, champion.key, learnt, config.registry),
        "table": [_row(row, config.registry) for row in rows],
        "recordings": mine.recordings,
        "words": mine.shipped.words,
        "background_hours": hours,
        "learnt_by_the_champion": learnt,
        "at_target": {"candidate": asdict(mine.target), "champion": asdict(theirs.target)},
        "thresholds": {"candidate": mine.shipped.threshold, "champion": theirs.shipped.threshold},
        **({"captured": _captures(run, mine, theirs)} if reads_captures(config) else {}),
    }


def reads_captures(config: Config) -> bool:
    """Return whether any source holds labelled captures."""
    return bool(config.data.captured)


def _captures(run: StageRun, mine: "TestRun", theirs: "TestRun") -> list[dict[str, Any]]:
    """Tell of each capture of the test what is said in it, and what both models make of it: what is wrong first."""
    from wakeword_core.recordings.manifest import recording_paths

    paths = recording_paths(run.inputs[MANIFEST].path)
    rows = [
        {
            "path": paths[case.recording_id],
            "recording_id": case.recording_id,
            "label": case.label,
            **{
                name: {"score": float(f"{one.score:.{_DIGITS}g}"), "wrong": one.wrong}
                for name, one in (("candidate", case), ("champion", before))
            },
        }
        for case, before in zip(mine.captured, theirs.captured, strict=True)
    ]
    return sorted(rows, key=lambda row: (not row["candidate"]["wrong"], not row["champion"]["wrong"], row["path"]))


def _as_shipped(model: Artifact, judged: Artifact | None) -> "WakewordModel | JudgedModel":
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
    from wakeword_core.runtime.judge import JudgedModel
    from wakeword_core.runtime.judge_file import open_judge

    alone = WakewordModel(model.file(MODEL_FILE))
    return alone if judged is None else JudgedModel(alone, open_judge(judged.file(JUDGE_FILE)))


def _of_champion(run: StageRun, champion: Artifact, stage: str) -> Artifact | None:
    """Return what ships with the champion from a stage; None, and a warning where it had it, if that is not there."""
    from wakeword_core.registry.history import bundles_by_model

    bundle = bundles_by_model(run.store).get(champion.key)
    source = bundle.inputs.get(stage) if bundle else None
    if source is None:
        return None
    found = run.store.find(stage, source["key"])
    if found is None:
        log.warning("%s %s of the champion is gone or damaged, so it is compared without", stage, source["key"])
    else:
        _require_whole(found, champion.key)
    return found


def compare_devices(run: StageRun, champion: Artifact) -> "list[Contrast]":
    """Return what decides of the files for microcontrollers, where both models have one."""
    from wakeword_core.registry.trial import device_contrasts, device_errors

    mine, theirs = run.inputs.get("tflite_model"), _of_champion(run, champion, "tflite_model")
    if mine is None or theirs is None or not (mine.figures["made"] and theirs.figures["made"]):
        return []
    ours, others = (
        device_errors(artifact.file(artifact.figures["model"]), run.inputs[_TEST].path, run.config, run.progress)
        for artifact in (mine, theirs)
    )
    return device_contrasts(mine.figures["model"], ours, others, run.config.registry)


def _row(contrast: "Contrast", settings: RegistryConfig) -> dict[str, Any]:
    figures = {
        "candidate": contrast.candidate, "champion": contrast.champion, "difference": contrast.difference,
        "low": contrast.interval.low, "high": contrast.interval.high, "p_value": contrast.p_value,
    }  # fmt: skip
    return {
        "figure": contrast.name,
        **{name: float(f"{value:.{_DIGITS}g}") for name, value in figures.items()},
        "candidate_only": contrast.candidate_only,
        "champion_only": contrast.champion_only,
        "least_excess": contrast.least_excess,
        "worse": contrast.worse(settings),
    }


_VERDICTS = {
    "not_worse": {True: "not shown to be worse than", False: "worse than"},
    "non_inferior": {True: "as good within the margins as", False: "not shown to be as good within the margins as"},
}


def _sentence(
    mine: "TestRun", theirs: "TestRun", rows: "list[Contrast]", champion: str, learnt: int, settings: RegistryConfig
) -> str:
    """Say the verdict, the figures that decide, and what a reader has to know about them."""
    against = [row for row in rows if row.worse(settings)]
    notes = [row.described(settings) for row in against or rows[:1]]
    lost = [name for name, test in (("candidate", mine), ("champion", theirs)) if not test.target.reachable]
    if lost:
        who = f"the {lost[0]} finds no" if len(lost) == 1 else "neither finds a"
        notes.append(f"{who} word at a threshold with so few false alarms")
    if settings.rule == "not_worse" and not against:
        notes.append(f"an excess of fewer than {rows[0].least_excess} of {mine.recordings} recordings could not show")
    if learnt:
        notes.append(f"the champion learnt from {learnt} of the test's recordings, which flatters it")
    return f"{_VERDICTS[settings.rule][not against]} the champion {champion}: {'; '.join(notes)}"


def _learnt_by(store: ArtifactStore, champion: Artifact) -> set[str]:
    """Return the recordings that the champion was trained or calibrated on; none if its manifest cannot be read."""
    from wakeword_core.lineage.recordings import manifest_behind
    from wakeword_core.recordings.manifest import readable_manifests

    manifest = manifest_behind(store, champion.key)
    folders = [manifest.path] if manifest else []
    tables = readable_manifests(folders, ("recording_id", "split", "status")).values()
    return {
        recording_id
        for rows in tables
        for recording_id in rows.loc[rows["split"].isin(_LEARNT) & (rows["status"] == "ok"), "recording_id"]
    }


def not_worse_than_champion(comparison: Artifact, run: CheckRun) -> Verdict:
    """Fail where the model is worse than the champion on the same test."""
    figures = comparison.figures
    # what cannot be compared is for a person to decide about
    severity: Severity = "error" if figures["compared"] else "warning"
    differences = {row["figure"]: row["difference"] for row in figures["table"]}
    return Verdict(figures["passed"], figures["sentence"], differences, severity)


STAGE = Stage(
    name="champion_comparison",
    version="4",
    make=make,
    # the bundle, so that there is a candidate only where everything that ships is there; of it, the model decides
    inputs=(
        Input("onnx_model"),
        Input("model_bundle", facet=MODEL_FACET),
        Input("audio_shards", split="test"),
        Input("judged_model"),
        Input("tflite_model"),
        Input(MANIFEST, facet=CAPTURED_FACET, decides=reads_captures),
        Input(CHAMPION),
    ),
    settings=(
        "phrase",
        "seed",
        "data.audio",
        "evaluation.streams",
        "evaluation.conditions.tuning",
        "evaluation.operating_points",
        "registry",
    ),
    group="delivery",
    kinds=("onnx", "mlflow"),
    description=__doc__,
    checks=(check(not_worse_than_champion, blocking=False),),
)
