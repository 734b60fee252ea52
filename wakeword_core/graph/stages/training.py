"""Training: the network, with the averaged weights of its last or best epoch."""

import shutil
from dataclasses import asdict

from wakeword_core.config import Config
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.graph.stages import cmvn
from wakeword_core.store.artifacts import Artifact

SETTINGS = ("phrase", "seed", "training", "features.frontend", "data.audio.sample_rate", "labels")
"""What a training depends on besides its windows."""


def validation_decides(config: Config) -> bool:
    """Return whether the weights depend on validation: by the epoch that is kept, or by when the rate drops."""
    return config.training.validation.keep == "best" or config.training.schedule.kind == "plateau"


def make(run: StageRun) -> None:
    """Train the network, or go on with a training that was killed."""
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import open_windows
    from wakeword_core.training.loop import train
    from wakeword_core.training.records import CURVE, HISTORY, history_curve
    from wakeword_core.training.run import CHECKPOINTS

    if run.config.export.tflite.enabled:
        from wakeword_core.export.tflite.make import require_possible

        require_possible(run.config)  # now, not when the training is over
    _ = run.device  # recorded with the artifact
    summary = train(
        open_windows(run.inputs["mel_features[train]"].path),
        open_windows(run.inputs["mel_features[val]"].path),
        Cmvn.load(run.inputs["cmvn_stats"].file(cmvn.FILE)),
        run.config,
        run.out,
        run.progress,
        run.on_epoch,
    )
    (run.out / CURVE).write_bytes(history_curve(run.out / HISTORY, run.config.training.validation.max_fpr))
    # of validation, too, which need not have a part in the weights
    run.volatile = {HISTORY, CURVE}
    run.figures = asdict(summary)
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


STAGE = Stage(
    name="trained_model",
    version="4",
    make=make,
    inputs=(
        Input("mel_features", split="train"),
        Input("mel_features", split="val", decides=validation_decides),
        Input("cmvn_stats"),
    ),
    settings=SETTINGS,
    group="model",
    kinds=("pytorch", "mlflow"),
    description=__doc__,
    checks=(check(beats_chance, inputs=(Input("mel_features", split="val"),), limits=("checks.min_val_auc",)),),
    resumable=True,
    gpu=True,
)
