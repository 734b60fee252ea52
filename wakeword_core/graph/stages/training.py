"""Training: the network, with the averaged weights of its last or best epoch."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.config import Config
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check, verdict_on
from wakeword_core.graph.stages import cmvn
from wakeword_core.lineage.given import START, GivenModel
from wakeword_core.stage_names import TEACHER_SCORES
from wakeword_core.store.artifacts import Artifact

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.models.scoring import ScoringModel
    from wakeword_core.teaching.scores import TeacherScores
    from wakeword_core.training.health import Counts

SETTINGS = ("phrase", "seed", "training", "features.frontend", "data.audio.sample_rate", "labels")
"""What a training depends on besides its windows."""


def validation_decides(config: Config) -> bool:
    """Return whether the weights depend on validation: by the epoch that is kept, or by when the rate drops."""
    return config.training.validation.keep == "best" or config.training.schedule.kind == "plateau"


def is_taught(config: Config) -> bool:
    """Return whether the network learns what teachers say besides its labels."""
    return bool(config.training.teacher.models)


def started_from(config: Config) -> Mapping[str, str]:
    """Return the model that the training goes on from, if there is one."""
    model = config.training.start_from
    return {} if model is None else {START: model}


def can_start(config: Config, models: Mapping[str, GivenModel]) -> None:
    """Raise what keeps the training from going on from the model that is named."""
    from wakeword_core.training.starting import require_startable

    require_startable(models[START], config)


def beginning(
    config: Config, inputs: Mapping[str, Artifact], models: Mapping[str, GivenModel]
) -> "tuple[Cmvn, ScoringModel | None, TeacherScores | None]":
    """Return what features are normalised by, the model that the training goes on from, and what its teachers say."""
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.teaching.scores import load_scores
    from wakeword_core.training.starting import starting_model

    start = starting_model(models[START].path, config) if models else None
    normalised_by = start.cmvn if start else Cmvn.load(inputs["cmvn_stats"].file(cmvn.FILE))
    return normalised_by, start, load_scores(inputs[TEACHER_SCORES].path) if is_taught(config) else None


def make(run: StageRun) -> None:
    """Train the network, or go on with a training that was killed."""
    from wakeword_core.features.store import open_windows
    from wakeword_core.training.checkpoint import CHECKPOINTS
    from wakeword_core.training.finding_rate import find_rate_once
    from wakeword_core.training.loop import train
    from wakeword_core.training.records import CURVE, HISTORY, history_curve
    from wakeword_core.training.starting import starting_config

    if run.config.export.tflite.enabled:
        from wakeword_core.export.tflite.make import require_possible

        require_possible(run.config)  # now, not when the training is over
    _ = run.device  # recorded with the artifact
    normalised_by, start, teacher = beginning(run.config, run.inputs, run.models)
    windows, val = (open_windows(run.inputs[f"mel_features[{split}]"].path) for split in ("train", "val"))
    config = find_rate_once(windows, normalised_by, run.config, run.out, run.progress, start, teacher)
    summary = train(
        windows,
        val,
        normalised_by,
        starting_config(config),
        run.out,
        run.progress,
        run.on_epoch,
        start,
        teacher,
    )
    (run.out / CURVE).write_bytes(history_curve(run.out / HISTORY, run.config.training.validation.max_fpr))
    # of validation, too, which need not have a part in the weights
    run.volatile = {HISTORY, CURVE}
    run.figures = asdict(summary)
    if run.config.training.schedule.learning_rate == "auto":
        run.figures["learning_rate"] = config.training.schedule.peak
    # not before everything else is written: until then a killed build goes on from its last epoch
    shutil.rmtree(run.out / CHECKPOINTS)


def beats_chance(model: Artifact, run: CheckRun) -> Verdict:
    """Fail where the network ranks validation little better than chance."""
    from wakeword_core.evaluation.measure.clips import score_clips
    from wakeword_core.evaluation.measure.metrics import clip_metrics

    scores, positive = score_clips(model.path, run.inputs["mel_features[val]"].path)
    auc, needed = clip_metrics(scores, positive).roc_auc, run.config.checks.min_val_auc
    if auc is None:
        return Verdict(False, "validation holds only one class, so nothing can be said of the model")
    description = f"ROC-AUC on validation is {auc:.4f}; at least {needed} is needed (checks.min_val_auc)"
    return Verdict(auc >= needed, description, {"val_auc": auc})


def training_healthy(model: Artifact, run: CheckRun) -> Verdict:
    """Warn of what the history shows that went wrong: diverged, overfitted, ended too soon, had too little data."""
    from wakeword_core.training.health import find_faults
    from wakeword_core.training.records import HISTORY, kept_record, read_history

    history = read_history(model.file(HISTORY))
    kept = kept_record(history, run.config.training.validation.keep)
    if kept is None:
        return Verdict(True, "nothing was trained")
    train, val = (run.inputs[f"mel_features[{split}]"].path for split in ("train", "val"))
    faults = find_faults(history, kept, _counts(train, val, run.config.labels))
    fine = f"{len(history)} epochs, and neither they nor the number of recordings show that anything went wrong"
    return replace(verdict_on(list(faults.values()), fine), figures={"faults": list(faults)})


def _counts(train: Path, val: Path, labels: Sequence[str]) -> "Counts":
    """Count the recordings of each class in training, and the windows of validation with and without a wake word."""
    import numpy as np

    from wakeword_core.features.store import FeatureFile
    from wakeword_core.training.health import Counts

    learnt, judged = FeatureFile(train), FeatureFile(val).column("labels")
    classes, ids = learnt.column("labels"), learnt.column("recording_ids")
    recordings = {label: len(np.unique(ids[classes == index])) for index, label in enumerate(labels)}
    return Counts(recordings, words=int((judged > 0).sum()), others=int((judged == 0).sum()))


STAGE = Stage(
    name="trained_model",
    version="4",
    make=make,
    inputs=(
        Input("mel_features", split="train"),
        Input("mel_features", split="val", decides=validation_decides),
        Input("cmvn_stats"),
        Input(TEACHER_SCORES, decides=is_taught),
    ),
    settings=SETTINGS,
    group="model",
    kinds=("pytorch", "mlflow"),
    description=__doc__,
    checks=(
        check(beats_chance, inputs=(Input("mel_features", split="val"),), limits=("checks.min_val_auc",)),
        check(
            training_healthy,
            blocking=False,
            inputs=(Input("mel_features", split="train"), Input("mel_features", split="val")),
        ),
    ),
    models=started_from,
    fit=can_start,
    resumable=True,
    gpu=True,
)
