"""Teachers: what finished models say of every training row, step by step, once for all trainings."""

from collections.abc import Mapping

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.files import digest
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, never, verdict_on
from wakeword_core.lineage.given import GivenModel
from wakeword_core.stage_names import MANIFEST, TEACHER_SCORES
from wakeword_core.store.artifacts import Artifact

_ROWS = "mel_features[train]"


def named_teachers(config: Config) -> Mapping[str, str]:
    """Return the teachers by the part that they play: teacher_1, teacher_2 and so on."""
    return {f"teacher_{number}": name for number, name in enumerate(config.training.teacher.models, 1)}


def can_teach(config: Config, models: Mapping[str, GivenModel]) -> None:
    """Raise what keeps a teacher from teaching the configured model."""
    from wakeword_core.teaching.teachers import open_teacher, require_fitting

    names: dict[str, str] = {}
    for given in models.values():
        if given.content in names:
            raise ConfigError(
                f"training.teacher.models names one model twice, as {names[given.content]} and as {given.name}; name "
                "it once, and let training.teacher.weights say how much it counts"
            )
        names[given.content] = given.name
        require_fitting(open_teacher(given, "cpu", threads=1), config)


def make(run: StageRun) -> None:
    """Let each teacher score all rows; what one said of the same rows before is taken over."""
    from wakeword_core.teaching.rows import Source, score_rows
    from wakeword_core.teaching.scores import scores_file
    from wakeword_core.teaching.teachers import open_teacher

    config, rows = run.config, run.inputs[_ROWS]
    source = Source(
        rows.path, run.inputs["audio_shards[train]"].path, run.inputs[MANIFEST].figures["synthetic"], config
    )
    said_of = [rows.content, *(config.subset(*STAGE.settings).values())]
    teachers, scored = [], 0
    for number, given in enumerate(run.models.values(), 1):
        target, key = run.out / scores_file(number), digest([given.content, *said_of])
        if not run.parts.link(key, target):
            teacher = open_teacher(given, run.device, threads=1)
            score_rows(teacher, source, run.device, run.progress).save(target)
            run.parts.keep(key, target)
            scored += 1
        teachers.append({"model": given.name, "stage": given.stage, "key": given.key})
    run.figures = {"teachers": teachers, "scored_now": scored, "rows": rows.figures["rows"]}


def teachers_hear_the_word(scores: Artifact, run: CheckRun) -> Verdict:
    """Fail where a teacher tells training rows with a wake word from others little better than chance."""
    from wakeword_core.evaluation.measure.roc import area_under_roc
    from wakeword_core.features.store import FeatureFile
    from wakeword_core.teaching.scores import load_scores

    said, words = load_scores(scores.path), FeatureFile(run.inputs[_ROWS].path).column("labels") > 0
    loudest = said.loudest().numpy()
    aucs = {
        teacher["model"]: area_under_roc(loudest[:, number], words)
        for number, teacher in enumerate(scores.figures["teachers"])
    }
    needed = run.config.checks.min_val_auc
    each = ", ".join(f"{name}: {auc:.4f}" for name, auc in aucs.items())
    description = f"ROC-AUC of teachers on training rows: {each}; at least {needed} is needed (checks.min_val_auc)"
    return Verdict(min(aucs.values()) >= needed, description, {"auc": list(aucs.values())})


def teachers_heard_no_test(scores: Artifact, run: CheckRun) -> Verdict:
    """Warn where a teacher learnt from recordings that its student is tested on."""
    from wakeword_core.lineage.recordings import LEARNT_FROM, recordings_behind
    from wakeword_core.recordings.manifest import read_manifest
    from wakeword_core.store.graph import Graph

    graph = Graph.of_store(run.store)
    recordings = read_manifest(run.inputs[MANIFEST].path, "test", columns=("recording_id", "split", "status"))
    tested = set(recordings["recording_id"])
    problems, unknown = [], []
    for edge in graph.given_models(graph.nodes[TEACHER_SCORES, scores.key]).values():
        models = graph.known([(edge.stage, edge.key)])
        unknown += [] if models else [edge.name]
        for model in models:
            rows = recordings_behind(graph, model, run.store.root)
            heard = tested.intersection(rows.loc[rows["split"].isin(LEARNT_FROM), "recording_id"])
            if heard:
                problems.append(
                    f"{edge.name} learnt from {len(heard)} of the {len(tested)} recordings of the test, whose figures "
                    "flatter its student; give both the same splits"
                )
    fine = "no teacher of this home learnt from a recording of the test"
    return verdict_on(problems, f"{fine}; of {', '.join(unknown)} nothing is known here" if unknown else fine)


STAGE = Stage(
    name=TEACHER_SCORES,
    version="1",
    make=make,
    # the sound of rows is what their features were made of
    inputs=(
        Input("mel_features", split="train"),
        Input("audio_shards", split="train", decides=never),
        Input(MANIFEST, decides=never),
    ),
    settings=("data.audio.sample_rate", "features.frontend", "labels", "training.teacher.step_frames"),
    group="model",
    kinds=("pytorch", "onnx"),
    description=__doc__,
    checks=(
        check(
            teachers_hear_the_word,
            inputs=(Input("mel_features", split="train"),),
            limits=("checks.min_val_auc",),
        ),
        check(teachers_heard_no_test, blocking=False, inputs=(Input(MANIFEST, facet="test"),)),
    ),
    libraries=("torch", "onnxruntime"),
    models=named_teachers,
    fit=can_teach,
    gpu=True,
    optional=lambda config: bool(config.training.teacher.models),
)
