"""Which weights of a training are kept: averaged or not, of the best epoch or the last, and of epochs on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sweeps_to_train import CMVN, TINY_TCN, TRAIN, VAL, config_for, history, weights

from wakeword_core.config import TcnConfig, TinyConvConfig
from wakeword_core.models.scoring import load_model
from wakeword_core.training.checkpoint import LAST
from wakeword_core.training.loop import train
from wakeword_core.training.records import EpochRecord, best_record
from wakeword_core.training.validation import validate


def test_the_averaged_weights_are_validated_saved_and_loaded(tmp_path: Path) -> None:
    """What load_model gives scores exactly what the best epoch's record says."""
    raw: list[torch.Tensor] = []

    def watch(record: EpochRecord) -> None:
        checkpoint = load_file(tmp_path / "checkpoints" / LAST)
        raw.append(checkpoint["model/backbone.classifier.weight"])

    config = config_for(ema={"decay": 0.9})
    summary = train(TRAIN, VAL, CMVN, config, tmp_path, on_epoch=watch)
    model, _ = load_model(tmp_path)
    figures = validate(model, VAL.mel, VAL.labels, 16, config.training.validation.max_fpr)
    assert (figures.loss, figures.auc, figures.pauc) == (summary.val_loss, summary.val_auc, summary.val_pauc)
    best = history(tmp_path)[summary.best_epoch - 1]
    assert (best.val_loss, best.val_pauc) == (summary.val_loss, summary.best_score)
    assert best.score == max(record.score for record in history(tmp_path))
    assert not torch.equal(weights(tmp_path)["backbone.classifier.weight"], raw[summary.best_epoch - 1])


def test_models_of_earlier_epochs_are_kept(tmp_path: Path) -> None:
    config = config_for(schedule={"epochs": 5}, validation={"keep_every": 2, "keep": "last"})
    train(TRAIN, VAL, CMVN, config, tmp_path)
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["00002", "00004"]
    for epoch in (2, 4):
        model, _ = load_model(tmp_path / "epochs" / f"{epoch:05d}")
        figures = validate(model, VAL.mel, VAL.labels, 16, config.training.validation.max_fpr)
        assert figures.loss == history(tmp_path)[epoch - 1].val_loss


def test_without_averaging_the_raw_weights_are_saved(tmp_path: Path) -> None:
    raw: list[dict[str, torch.Tensor]] = []

    def watch(record: EpochRecord) -> None:
        raw.append(load_file(tmp_path / "checkpoints" / LAST))

    summary = train(TRAIN, VAL, CMVN, config_for(ema={"decay": 0}), tmp_path, on_epoch=watch)
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, raw[summary.best_epoch - 1][f"model/{name}"]), name


def test_stops_early_on_the_validation_score_and_keeps_the_best(tmp_path: Path) -> None:
    """Validation labels are noise, so after a while nothing gets better."""
    shuffled = replace(VAL, labels=VAL.labels[torch.randperm(80, generator=torch.Generator().manual_seed(3))])
    summary = train(
        TRAIN,
        shuffled,
        CMVN,
        config_for(schedule={"epochs": 40, "learning_rate": 1e-2}, validation={"patience": 2}),
        tmp_path,
    )
    assert summary.stopped_early
    assert summary.epochs == summary.best_epoch + 2 < 40
    assert len(history(tmp_path)) == summary.epochs


@pytest.mark.parametrize("model", [TcnConfig(**TINY_TCN), TinyConvConfig(channels=4)], ids=lambda model: model.arch)
def test_the_last_epoch_is_kept_when_asked_and_nothing_stops_it(model: Any, tmp_path: Path) -> None:
    """Validation labels are noise, so that the last epoch is not the best and patience is soon out."""
    shuffled = replace(VAL, labels=VAL.labels[torch.randperm(80, generator=torch.Generator().manual_seed(3))])
    config = config_for(
        model, validation={"keep": "last", "patience": 1}, ema={"decay": 0.9}, schedule={"learning_rate": 1e-2}
    )
    summary = train(TRAIN, shuffled, CMVN, config, tmp_path)
    records = history(tmp_path)
    best = best_record(records)
    assert best is not None and best.epoch < len(records) == config.training.schedule.epochs
    assert (summary.epochs, summary.best_epoch, summary.stopped_early) == (6, 6, False)
    assert (summary.val_loss, summary.val_auc) == (records[-1].val_loss, records[-1].val_auc)
    assert summary.best_score == summary.val_pauc == records[-1].val_pauc
    checkpoint = load_file(tmp_path / "checkpoints" / LAST)
    found = weights(tmp_path)
    assert all(torch.equal(tensor, checkpoint[f"average/{name}"]) for name, tensor in found.items())
    assert any(not torch.equal(tensor, checkpoint[f"model/{name}"]) for name, tensor in found.items())
    loaded, _ = load_model(tmp_path)
    assert validate(loaded, shuffled.mel, shuffled.labels, 16, 1.0).loss == summary.val_loss
