"""Tuning: the network after some more epochs with the mined clips."""

from wakeword_core.config import Config
from wakeword_core.files import link_or_copy
from wakeword_core.graph.stage import CheckRun, Input, Severity, Stage, StageRun, Verdict, check
from wakeword_core.graph.stages import cmvn, training
from wakeword_core.stage_names import TEACHER_SCORES
from wakeword_core.store.artifacts import Artifact

_FIGURES_OF_A_MODEL = ("val_loss", "val_auc", "val_pauc", "parameters")
_RANKING_TOLERANCE = 1e-3
"""By as much a ranking may differ from one device to another."""
_COUNTED = ("f1", "frr")
"""Metrics that count words: one word may be on the other side of a threshold there."""


def models_are_tuned(config: Config) -> bool:
    """Return whether there is a tuning at all."""
    return config.mining.enabled


def validation_decides(config: Config) -> bool:
    """Return whether validation has a part in the weights."""
    return config.mining.enabled and (config.mining.tuning.keep == "better" or training.validation_decides(config))


def is_taught(config: Config) -> bool:
    """Return whether there is a tuning in which teachers say something of the training windows."""
    return config.mining.enabled and training.is_taught(config)


def make(run: StageRun) -> None:
    """Train on with the mined clips; where there are none, hand the trained network on as it is."""
    from wakeword_core.training.records import CURVE, HISTORY, history_curve

    run.volatile = {HISTORY, CURVE}
    trained, mined = run.inputs["trained_model"], run.inputs["mined_negatives"]
    if not mined.figures["clips"]:
        for name in trained.files:
            link_or_copy(trained.file(name), run.out / name)
        unchanged = {name: trained.figures[name] for name in _FIGURES_OF_A_MODEL}
        run.figures = {"tuned": False, "kept": False, "mined_clips": 0, **unchanged}
        return
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.mining.tuning import Sources, clean_up, tune
    from wakeword_core.models.scoring import load_model
    from wakeword_core.teaching.scores import load_scores
    from wakeword_core.training.finding_rate import with_found_rate

    # a training that went on from another model kept what that one's features are normalised by
    own = run.config.training.start_from is None
    features = [run.inputs[f"mel_features[{split}]"].path for split in ("train", "val")]
    config = with_found_rate(run.config, trained.path)
    run.figures = tune(
        Sources(trained.path, mined.path, run.inputs["audio_shards[train]"].path, *features),
        Cmvn.load(run.inputs["cmvn_stats"].file(cmvn.FILE)) if own else load_model(trained.path)[0].cmvn,
        config,
        run.device,
        run.out,
        run.parts,
        run.progress,
        run.on_epoch,
        load_scores(run.inputs[TEACHER_SCORES].path) if is_taught(run.config) else None,
    )
    (run.out / CURVE).write_bytes(history_curve(run.out / HISTORY, run.config.training.validation.max_fpr))
    # not before everything else is written: until then a killed build goes on from its last epoch
    clean_up(run.out)


def tuning_not_worse(tuned: Artifact, run: CheckRun) -> Verdict:
    """Fail where tuning made the network worse on validation, by the metric that it was kept by."""
    from wakeword_core.models.scoring import WEIGHTS

    trained = run.inputs["trained_model"]
    if tuned.files[WEIGHTS] == trained.files[WEIGHTS]:
        return Verdict(True, "the trained model as it was")
    from wakeword_core.features.store import open_windows
    from wakeword_core.mining.tuning import validation_figures

    val = open_windows(run.inputs["mel_features[val]"].path)
    before, after = (validation_figures(model.path, val, run.config, "cpu") for model in (trained, tuned))
    metric = run.config.training.validation.metric
    name = "partial ROC-AUC" if metric == "pauc" else metric
    figure_before, figure_after = (getattr(figures, metric) for figures in (before, after))
    description = f"{name} on validation {figure_before:.4f} -> {figure_after:.4f}"
    description += "" if metric == "loss" else f", loss {before.loss:.4f} -> {after.loss:.4f}"
    words = int((val.labels > 0).sum())
    tolerance = max(_RANKING_TOLERANCE, 1 / words if metric in _COUNTED else 0.0)
    passed = after.value(metric) >= before.value(metric) - tolerance
    always = run.config.mining.tuning.keep == "always"
    description += "; mining.tuning.keep=better would have kept the trained model" if always and not passed else ""
    severity: Severity | None = "warning" if always else None
    return Verdict(passed, description, {f"{metric}_before": figure_before, f"{metric}_after": figure_after}, severity)


STAGE = Stage(
    name="tuned_model",
    version="3",
    make=make,
    inputs=(
        Input("trained_model"),
        Input("mined_negatives"),
        Input("audio_shards", split="train", decides=models_are_tuned),
        Input("mel_features", split="train"),
        Input("mel_features", split="val", decides=validation_decides),
        Input("cmvn_stats"),
        Input(TEACHER_SCORES, decides=is_taught),
    ),
    settings=("mining.tuning", *training.SETTINGS),
    switch="mining.enabled",
    group="model",
    kinds=("pytorch", "mlflow"),
    description=__doc__,
    checks=(
        check(
            tuning_not_worse,
            inputs=(Input("trained_model"), Input("mel_features", split="val")),
            limits=("mining.tuning.keep", "training.validation.metric"),
        ),
    ),
    libraries=("torch",),
    resumable=True,
    gpu=True,
)
