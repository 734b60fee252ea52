"""What the stages mined_negatives and tuned_model do: the settings they depend on, and the calls that build them."""

from dataclasses import asdict
from typing import Any

from wakeword_core.config import Config, Split
from wakeword_core.files import link_or_copy
from wakeword_core.project import Project
from wakeword_core.store.artifacts import Artifact, Build

Inputs = dict[str, Artifact]


_WHAT_IS_MINED = ("min_score", "lockout_seconds", "per_recording", "max_clips")
_HOW_IT_IS_TUNED = ("epochs", "learning_rate_fraction", "keep")
_WHERE_IT_BEGINS_AND_ENDS = tuple(
    f"features.{name}" for name in ("context_frames", "edge_seconds", "tail_seconds", "jitter_seconds")
)
_FIGURES_OF_A_MODEL = ("val_loss", "val_auc", "val_pauc", "parameters")


def mining_settings(config: Config, split: Split | None) -> dict[str, Any]:
    """What mined clips depend on; switched off, on nothing else."""
    if not config.mining.enabled:
        return config.subset("mining.enabled")
    return config.subset("mining.enabled", *(f"mining.{name}" for name in _WHAT_IS_MINED), *_WHERE_IT_BEGINS_AND_ENDS)


def tuning_settings(config: Config, training: dict[str, Any]) -> dict[str, Any]:
    """What a tuning depends on besides its inputs, given what a training does; switched off, on nothing else.

    How features are made is written in those of the training split, which are an input.
    """
    if not config.mining.enabled:
        return config.subset("mining.enabled")
    own = config.subset("mining.enabled", *(f"mining.{name}" for name in _HOW_IT_IS_TUNED))
    rest = {name: value for name, value in training["training"].items() if name != "epochs"}
    return {**training, "training": rest, **own}


def make_mined(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    """Clips that the trained model fires at; none where mining is off."""
    from wakeword_core.mining.clips import write_clips

    config, shards = project.config, inputs["audio_shards[train]"].path
    if not config.mining.enabled:
        write_clips(shards, [], config.data.sample_rate, build.path)
        build.figures = {"enabled": False, "clips": 0}
        return
    from wakeword_core.mining.miner import mine
    from wakeword_core.models.scoring import load_model
    from wakeword_core.training.device import choose_device

    build.device = choose_device(config.training.device)
    model, _ = load_model(inputs["trained_model"].path)
    summary = mine(model, shards, config, build.device, build.path, project.progress)
    build.figures = {"enabled": True, **asdict(summary)}


def make_tuned(project: Project, build: Build, inputs: Inputs, split: Split | None) -> None:
    """The trained model after some epochs with mined clips, or as it is where there are none."""
    from wakeword_core.training.records import CURVE, HISTORY, history_curve

    build.volatile = {HISTORY, CURVE}
    trained, mined = inputs["trained_model"], inputs["mined_negatives"]
    if not mined.figures["clips"]:
        for name in trained.files:
            link_or_copy(trained.file(name), build.path / name)
        unchanged = {name: trained.figures[name] for name in _FIGURES_OF_A_MODEL}
        build.figures = {"tuned": False, "kept": False, "mined_clips": 0, **unchanged}
        return
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.mining.tuning import Sources, clean_up, tune
    from wakeword_core.training.device import choose_device

    build.device = choose_device(project.config.training.device)
    features = [inputs[f"mel_features[{one}]"].path for one in ("train", "val")]
    build.figures = tune(
        Sources(trained.path, mined.path, inputs["audio_shards[train]"].path, *features),
        Cmvn.load(inputs["cmvn_stats"].file("cmvn.json")),
        project.config,
        build.device,
        build.path,
        build.parts,
        project.progress,
        project.on_epoch or (lambda record: None),
    )
    (build.path / CURVE).write_bytes(history_curve(build.path / HISTORY))
    # not before everything else is written: until then a killed build goes on from its last epoch
    clean_up(build.path)
