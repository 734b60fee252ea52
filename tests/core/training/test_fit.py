"""The training loop: it learns, resumes exactly, and saves what it validated."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wakeword_core.config import (
    ROLES,
    BcResNetConfig,
    Config,
    FeaturesConfig,
    FrontendConfig,
    TcnConfig,
    TinyConvConfig,
    TrainingConfig,
)
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.store import WindowSet
from wakeword_core.models.scoring import load_model
from wakeword_core.training import fit
from wakeword_core.training.checkpoint import LAST
from wakeword_core.training.fit import train
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.schedule import learning_rate
from wakeword_core.training.validation import validate

N_MELS, FRAMES = 16, 32
CMVN = Cmvn(np.full(N_MELS, -6, np.float32), np.full(N_MELS, 2, np.float32))


class KilledError(Exception):
    """Stands for whatever ends a training."""


def config_for(model: Any = None, **training: Any) -> Config:
    chosen = {"epochs": 6, "steps_per_epoch": 4, "batch_size": 16, "threads": 1, "device": "cpu", **training}
    frontend = FrontendConfig(n_mels=N_MELS, window_frames=FRAMES)
    return Config(
        model=model or TcnConfig(channels=8, blocks=2, kernel=3),
        training=TrainingConfig(**chosen),
        features=FeaturesConfig(frontend=frontend),
    )


def windows_for(seed: int, strength: float = 6.0, rows: int = 80) -> WindowSet:
    """A rising sweep is the word, a falling one a hard negative, the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(rows, N_MELS, FRAMES, generator=generator) * 2 - 6
    kind = torch.arange(rows) % 4
    sweep = torch.eye(N_MELS) * strength
    mel[kind == 0, :, 12:28] += sweep
    mel[kind == 1, :, 12:28] += sweep.flip(0)
    names = ("positive", "hard_negative", "negative", "background")
    roles = torch.tensor([ROLES.index(name) for name in names])[kind]
    ids = np.arange(rows).astype(str)
    return WindowSet(mel.half(), (kind == 0).long(), roles, torch.zeros(rows, dtype=torch.int64), ids)


TRAIN, VAL = windows_for(1), windows_for(2)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def history(out: Path) -> list[EpochRecord]:
    return [EpochRecord(**json.loads(line)) for line in (out / "history.jsonl").read_text().splitlines()]


def untimed(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0, samples_per_second=0) for record in records]


def test_learns_and_tells_of_it(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    records: list[EpochRecord] = []
    masks = {"time_frames": 4, "mel_bands": 2}
    config = config_for(epochs=15, learning_rate=1e-2, ema_decay=0.9, patience=15, spec_augment=masks)
    summary = train(TRAIN, VAL, CMVN, config, tmp_path, lambda *one: seen.append(one), records.append)
    assert summary.val_auc > 0.95
    assert summary.best_score > 0.8
    assert records[-1].train_loss < records[0].train_loss * 0.8
    assert [record.epoch for record in records] == list(range(1, summary.epochs + 1))
    assert untimed(history(tmp_path)) == untimed(records)
    assert seen[-1] == ("training", 60, 60)
    assert [done for _, done, _ in seen] == list(range(1, 61))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoints", "history.jsonl", "model.json", "model.safetensors"}
    json.dumps(asdict(summary), allow_nan=False)
    assert all(record.gradient_norm > 0 and record.samples_per_second > 0 for record in records)


def test_learning_rate_follows_the_steps_not_the_loss(tmp_path: Path) -> None:
    config = config_for(warmup_fraction=0.25)
    train(TRAIN, VAL, CMVN, config, tmp_path)
    found = [record.learning_rate for record in history(tmp_path)]
    assert found == pytest.approx([learning_rate(4 * epoch + 3, 24, config.training) for epoch in range(6)])
    assert found[1] > found[0]
    assert found[-1] == pytest.approx(config.training.learning_rate * config.training.final_lr_fraction)


@pytest.mark.parametrize(
    "model",
    [TcnConfig(channels=8, blocks=2, kernel=3, dropout=0.3), BcResNetConfig(dropout=0.3), TinyConvConfig(channels=4)],
    ids=lambda model: model.arch,
)
def test_three_epochs_and_three_more_are_six_bit_for_bit(model: Any, tmp_path: Path) -> None:
    config = config_for(model, steps_per_epoch=2)
    whole = train(TRAIN, VAL, CMVN, config, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise KilledError

    records: list[EpochRecord] = []
    with pytest.raises(KilledError):
        train(TRAIN, VAL, CMVN, config, tmp_path / "parts", on_epoch=kill)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        parts = train(TRAIN, VAL, CMVN, config, tmp_path / "parts", on_epoch=records.append)
    assert [record.epoch for record in records] == [4, 5, 6]
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))
    timed = {"seconds": 0, "samples_per_second": 0}
    assert replace(whole, **timed) == replace(parts, **timed)


_SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_fit as t
def kill(what, done, total):
    if done == 14:
        os.kill(os.getpid(), signal.SIGKILL)
t.train(t.TRAIN, t.VAL, t.CMVN, t.config_for(), Path(sys.argv[2]), kill)
"""


def test_killed_in_the_middle_of_an_epoch_and_resumed(tmp_path: Path) -> None:
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(folder.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _SCRIPT, str(folder), str(tmp_path / "killed")]
    result = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()
    assert len(history(tmp_path / "killed")) == 3
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "killed")
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "whole")
    assert same_weights(tmp_path / "killed", tmp_path / "whole")
    assert [record.epoch for record in history(tmp_path / "killed")] == [1, 2, 3, 4, 5, 6]


def test_resumes_from_the_previous_checkpoint_when_the_last_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(TRAIN, VAL, CMVN, config_for(), tmp_path / "parts", on_epoch=kill)
    last = tmp_path / "parts" / "checkpoints" / LAST
    data = last.read_bytes()
    last.unlink()
    last.write_bytes(data[: len(data) // 2])
    records: list[EpochRecord] = []
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "parts", on_epoch=records.append)
    assert records[0].epoch == 3
    assert "damaged" in caplog.text
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "whole")
    assert same_weights(tmp_path / "parts", tmp_path / "whole")


def test_killed_after_the_last_epoch_only_saves(tmp_path: Path) -> None:
    def kill(record: EpochRecord) -> None:
        if record.epoch == 6:
            raise KilledError

    with pytest.raises(KilledError):
        train(TRAIN, VAL, CMVN, config_for(), tmp_path / "parts", on_epoch=kill)
    records: list[EpochRecord] = []
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "parts", on_epoch=records.append)
    train(TRAIN, VAL, CMVN, config_for(), tmp_path / "whole")
    assert records == []
    assert same_weights(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("change", ["settings", "data", "cmvn"])
def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(record: EpochRecord) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train(TRAIN, VAL, CMVN, config_for(), tmp_path, on_epoch=kill)
    records: list[EpochRecord] = []
    data = replace(TRAIN, mel=TRAIN.mel + 1) if change == "data" else TRAIN
    cmvn = replace(CMVN, mean=CMVN.mean + 1) if change == "cmvn" else CMVN
    config = config_for(learning_rate=1e-4) if change == "settings" else config_for()
    train(data, VAL, cmvn, config, tmp_path, on_epoch=records.append)
    assert records[0].epoch == 1
    assert "other data or settings" in caplog.text


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(TRAIN, VAL, CMVN, config_for(epochs=2).model_copy(update={"seed": seed}), tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_the_averaged_weights_are_validated_saved_and_loaded(tmp_path: Path) -> None:
    """What load_model gives scores exactly what the best epoch's record says."""
    raw: list[torch.Tensor] = []

    def watch(record: EpochRecord) -> None:
        checkpoint = load_file(tmp_path / "checkpoints" / LAST)
        raw.append(checkpoint["model/backbone.classifier.weight"])

    config = config_for(ema_decay=0.9)
    summary = train(TRAIN, VAL, CMVN, config, tmp_path, on_epoch=watch)
    model, _ = load_model(tmp_path)
    figures = validate(model, VAL.mel, VAL.labels, 16, config.training.val_max_fpr)
    assert (figures.loss, figures.auc, figures.pauc) == (summary.val_loss, summary.val_auc, summary.val_pauc)
    best = history(tmp_path)[summary.best_epoch - 1]
    assert (best.val_loss, best.val_pauc) == (summary.val_loss, summary.best_score)
    assert best.score == max(record.score for record in history(tmp_path))
    assert not torch.equal(weights(tmp_path)["backbone.classifier.weight"], raw[summary.best_epoch - 1])


def test_without_averaging_the_raw_weights_are_saved(tmp_path: Path) -> None:
    raw: list[dict[str, torch.Tensor]] = []

    def watch(record: EpochRecord) -> None:
        raw.append(load_file(tmp_path / "checkpoints" / LAST))

    summary = train(TRAIN, VAL, CMVN, config_for(ema_decay=0), tmp_path, on_epoch=watch)
    for name, tensor in weights(tmp_path).items():
        assert torch.equal(tensor, raw[summary.best_epoch - 1][f"model/{name}"]), name


def test_stops_early_on_the_validation_score_and_keeps_the_best(tmp_path: Path) -> None:
    """Validation labels are noise, so after a while nothing gets better."""
    shuffled = replace(VAL, labels=VAL.labels[torch.randperm(80, generator=torch.Generator().manual_seed(3))])
    summary = train(TRAIN, shuffled, CMVN, config_for(epochs=40, patience=2, learning_rate=1e-2), tmp_path)
    assert summary.stopped_early
    assert summary.epochs == summary.best_epoch + 2 < 40
    assert len(history(tmp_path)) == summary.epochs


def test_stopping_early_is_remembered_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = replace(VAL, labels=VAL.labels[torch.randperm(80, generator=torch.Generator().manual_seed(3))])
    config = config_for(epochs=40, patience=2, learning_rate=1e-2)

    def fail(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(fit, "save_model", fail)
        with pytest.raises(KilledError):
            train(TRAIN, shuffled, CMVN, config, tmp_path)
    epochs = len(history(tmp_path))
    assert train(TRAIN, shuffled, CMVN, config, tmp_path).epochs == epochs


def test_weights_left_of_validation_do_not_depend_on_it(tmp_path: Path) -> None:
    """Validation must not touch random state, running statistics or modes of the training."""
    raw: list[torch.Tensor] = []

    def run(out: Path, val: WindowSet) -> None:
        def watch(record: EpochRecord) -> None:
            if record.epoch == 3:
                raw.append(load_file(out / "checkpoints" / LAST)["model/backbone.stem_norm.running_var"])

        train(TRAIN, val, CMVN, config_for(epochs=3), out, on_epoch=watch)

    run(tmp_path / "a", VAL)
    run(tmp_path / "b", windows_for(7, rows=24))
    assert torch.equal(*raw)


def test_masks_and_smoothing_have_an_effect(tmp_path: Path) -> None:
    plain = {"spec_augment": {"time_masks": 0, "mel_masks": 0}, "label_smoothing": 0}
    train(TRAIN, VAL, CMVN, config_for(epochs=1, **plain), tmp_path / "plain")
    train(TRAIN, VAL, CMVN, config_for(epochs=1, label_smoothing=0), tmp_path / "masks")
    train(TRAIN, VAL, CMVN, config_for(epochs=1, spec_augment=plain["spec_augment"]), tmp_path / "smooth")
    assert not same_weights(tmp_path / "plain", tmp_path / "masks")
    assert not same_weights(tmp_path / "plain", tmp_path / "smooth")


def test_norms_and_biases_are_not_decayed() -> None:
    from wakeword_core.models.scoring import new_model

    model = new_model(config_for())
    optimizer = fit._optimizer(model, TrainingConfig(weight_decay=0.3))
    decayed = {id(one) for group in optimizer.param_groups if group["weight_decay"] for one in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (name.endswith("weight") and "norm" not in name), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_global_random_state_and_threads_stay(tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(TRAIN, VAL, CMVN, config_for(epochs=1, threads=threads + 1), tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


def test_divergence_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    broken = replace(TRAIN, mel=torch.full_like(TRAIN.mel, float("inf")))
    with pytest.raises(ConfigError, match=r"epoch 1.*learning_rate"):
        train(broken, VAL, CMVN, config_for(), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_windows_that_cannot_be_trained_on(tmp_path: Path) -> None:
    positives = TRAIN.labels == 1

    def only(windows: WindowSet, keep: torch.Tensor) -> WindowSet:
        kept = (getattr(windows, name)[keep] for name in ("mel", "labels", "roles", "views"))
        return WindowSet(*kept, windows.ids[keep.numpy()])

    for train_set, val_set, message in (
        (only(TRAIN, ~positives), VAL, "training split has no window of 'hey robin'"),
        (only(TRAIN, positives), VAL, "training split has no window of negatives"),
        (TRAIN, only(VAL, ~positives), "validation split has no window of wake words"),
        (TRAIN, only(VAL, positives), "validation split has no window of negatives"),
        (replace(TRAIN, mel=TRAIN.mel[:, :8]), VAL, r"training windows are \(8, 32\)"),
        (TRAIN, replace(VAL, labels=VAL.labels * 2), "validation windows have labels outside 0 to 1"),
    ):
        with pytest.raises(DataError, match=message):
            train(train_set, val_set, CMVN, config_for(), tmp_path)


def test_missing_hard_negatives_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    roles = torch.where(TRAIN.roles == ROLES.index("hard_negative"), ROLES.index("negative"), TRAIN.roles)
    train(replace(TRAIN, roles=roles), VAL, CMVN, config_for(epochs=1), tmp_path)
    assert "no hard negatives" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_trains_on_cuda_with_amp(tmp_path: Path) -> None:
    for index, model in enumerate((None, BcResNetConfig(), TinyConvConfig())):
        summary = train(TRAIN, VAL, CMVN, config_for(model, device="cuda"), tmp_path / str(index))
        assert np.isfinite(summary.val_loss)
