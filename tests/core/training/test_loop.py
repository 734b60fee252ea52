"""The training loop: it learns, and saves what it validated."""

import json
import logging
import math
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sweeps_to_train import (
    CMVN,
    CONTEXT,
    LONG,
    LOSS,
    NO_AUGMENT,
    TIMED,
    TINY_TCN,
    TRAIN,
    VAL,
    config_for,
    history,
    material,
    merged,
    same_weights,
    untimed,
    weights,
    windows_for,
)
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import ROLES, BcResNetConfig, Config, TcnConfig, TinyConvConfig, TrainingConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.features.store import WindowSet
from wakeword_core.models.scoring import load_model
from wakeword_core.progress import silent
from wakeword_core.training.checkpoint import LAST
from wakeword_core.training.data import Sampler
from wakeword_core.training.loop import Batches, train, train_epoch
from wakeword_core.training.objective import Objective
from wakeword_core.training.optim import Clipper, Optimizers, learning_rate, make_optimizers
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import new_run
from wakeword_core.training.usage import Usage


def dropout_config(**training: Any) -> Config:
    model = TcnConfig(**TINY_TCN, dropout=0.3)
    return config_for(
        model, CONTEXT, **merged({"schedule": {"epochs": 3}, "optimizer": {"adaptive_clip": 5.0}}, training)
    )


def test_learns_and_tells_of_it(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    records: list[EpochRecord] = []
    masks = {"time_frames": 4, "mel_bands": 2}
    config = config_for(
        schedule={"epochs": 15, "learning_rate": 1e-2},
        ema={"decay": 0.9},
        validation={"patience": 15},
        spec_augment=masks,
    )
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


def test_each_epoch_says_how_it_went_in_one_line_and_what_it_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        summary = train(TRAIN, VAL, CMVN, config_for(schedule={"epochs": 3, "learning_rate": 1e-2}), tmp_path)
    records = history(tmp_path)
    lines = [one.message for one in caplog.records if one.message.startswith("epoch ")]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1 of 3", "epoch 2 of 3", "epoch 3 of 3"]
    for line, record in zip(lines, records, strict=True):
        assert f"loss {record.train_loss:.4f}, validation loss {record.val_loss:.4f}" in line
        assert f"FNR {100 * record.val_fnr:.1f} % at 0.5" in line and ("left" in line) == (record.epoch < 3)
        assert 0 < record.cpu_cores < 1_000 and 50 < record.memory_mb < 1e6 and record.gpu_share is None
    assert records[1].seconds_left == pytest.approx((records[0].seconds + records[1].seconds) / 2)
    assert summary.memory_mb == max(record.memory_mb for record in records)
    model, _ = load_model(tmp_path)
    heard = model.logits(VAL.mel.float()).argmax(dim=1) > 0
    word, kept = VAL.labels > 0, records[summary.best_epoch - 1]
    assert (kept.val_fnr, kept.val_fpr) == pytest.approx(
        (float((~heard[word]).float().mean()), float(heard[~word].float().mean()))
    )


def test_the_loss_is_told_by_kind_of_row_and_clipped_steps_are_counted(tmp_path: Path) -> None:
    hardest = {**LOSS, "hard_negative_weight": 50.0}  # a weight says what is learnt, and not how wrong it is
    config = config_for(schedule={"epochs": 8, "learning_rate": 1e-2}, loss=hardest, optimizer={"clip_norm": 1e9})
    free = train(TRAIN, VAL, CMVN, config, tmp_path / "free")
    first, *_, last = history(tmp_path / "free")
    for name in ("loss_word", "loss_negative", "loss_hard_negative"):
        assert 0 < getattr(last, name) < 3, name
    assert last.loss_word < first.loss_word and free.clipped_steps == 0
    assert len({first.loss_word, first.loss_negative, first.loss_hard_negative}) == 3
    easy = replace(TRAIN, roles=torch.where(TRAIN.roles == ROLES.index("hard_negative"), 1, TRAIN.roles))
    tight = config_for(schedule={"epochs": 2}, optimizer={"clip_norm": 1e-6})
    assert train(easy, VAL, CMVN, tight, tmp_path / "tight").clipped_steps == 8
    assert history(tmp_path / "tight")[0].loss_hard_negative is None


def test_gradients_that_jump_are_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps = []
    whole = Objective.forward

    def jumping(self: Objective, model: Any, batch: Any) -> Any:
        steps.append(1)
        output = whole(self, model, batch)
        return output._replace(loss=output.loss * (1_000 if len(steps) in (12, 20, 41) else 1))

    monkeypatch.setattr(Objective, "forward", jumping)
    config = config_for(schedule={"epochs": 3}, sampling={"steps_per_epoch": 14})
    with caplog.at_level(logging.WARNING):
        train(TRAIN, VAL, CMVN, config, tmp_path)
    jumps = [record.gradient_jump for record in history(tmp_path)]
    assert jumps[0] > 100 and jumps[1] < 20 < jumps[2]  # of the first steps of an epoch nothing is known to be usual
    (said,) = [one.message for one in caplog.records if "gradients" in one.message]
    assert "epoch 1" in said and "training.schedule.learning_rate" in said


def test_an_epoch_of_one_toy_batch_is_gradient_descent_by_hand() -> None:
    """Every step of it moves the weights by their gradients times the rate, and the average after them."""
    config = config_for(
        TcnConfig(**TINY_TCN, dropout=0),
        optimizer={"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 1e9},
        schedule={"epochs": 2, "learning_rate": 0.01, "kind": "constant", "warmup_fraction": 0.0},
        sampling={"kind": "plain", "batch_size": 4, "steps_per_epoch": 3},
        ema={"decay": 0.5},
        augment=NO_AUGMENT,
        spec_augment={"time_masks": 0, "mel_masks": 0},
    )
    toy = windows_for(1, rows=4)
    with torch.random.fork_rng(devices=[]):
        run, by_hand = (new_run(toy, CMVN, config, "cpu", "") for _ in range(2))
        batches = Batches(
            toy,
            Sampler(toy, config.labels, config.training, config.seed),
            silent,
            lambda: False,
        )
        trace = train_epoch(run, batches, config.training, Usage(run.device))
        losses = []
        for step in range(3):
            order = batches.sampler.epoch(0)[step]
            batch = by_hand.objective.draw(by_hand.model.train(), material(toy, order), torch.Generator())
            loss = by_hand.objective(by_hand.model, batch).loss
            by_hand.model.zero_grad()
            loss.backward()
            losses.append(float(loss.detach()))
            with torch.no_grad():
                for weight in by_hand.model.parameters():
                    weight -= 0.01 * weight.grad
                decay = min(0.5, (1 + step) / (10 + step))
                for averaged, latest in zip(by_hand.average.parameters(), by_hand.model.parameters(), strict=True):
                    averaged.copy_(decay * averaged + (1 - decay) * latest)
    assert run.step == 3 and losses[2] < losses[0]
    assert trace.losses.tolist() == pytest.approx(losses, rel=1e-5)
    for own, wanted in ((run.model, by_hand.model), (run.average, by_hand.average)):
        for mine, theirs in zip(own.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_learning_rate_follows_the_steps_not_the_loss(tmp_path: Path) -> None:
    config = config_for(schedule={"warmup_fraction": 0.25})
    train(TRAIN, VAL, CMVN, config, tmp_path)
    found = [record.learning_rate for record in history(tmp_path)]
    assert found == pytest.approx([learning_rate(4 * epoch + 3, 24, config.training.schedule) for epoch in range(6)])
    assert found[1] > found[0]
    assert found[-1] == pytest.approx(
        config.training.schedule.learning_rate * config.training.schedule.final_lr_fraction
    )


def test_same_seed_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed, its_own in (("a", 1, None), ("b", 1, None), ("c", 2, None), ("d", 1, 2)):
        config = config_for(schedule={"epochs": 2}).changed({"seed": seed, "training.seed": its_own})
        train(TRAIN, VAL, CMVN, config, tmp_path / name)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")
    assert same_weights(tmp_path / "c", tmp_path / "d")  # training's seed, over that of the data


def test_a_model_is_trained_further_from_its_weights(tmp_path: Path) -> None:
    config = config_for(schedule={"epochs": 4, "learning_rate": 1e-2})
    train(TRAIN, VAL, CMVN, config, tmp_path / "first")
    first, _ = load_model(tmp_path / "first")
    still = config_for(schedule={"epochs": 1, "learning_rate": 1e-12}, optimizer={"weight_decay": 0.0})
    train(TRAIN, VAL, CMVN, still, tmp_path / "second", start_from=first)
    second = weights(tmp_path / "second")
    learned = [name for name, one in first.named_parameters()]
    assert learned and all(torch.allclose(second[name], first.state_dict()[name], atol=1e-6) for name in learned)
    train(TRAIN, VAL, CMVN, still, tmp_path / "second")  # a checkpoint of a training from elsewhere is not used
    assert not torch.allclose(weights(tmp_path / "second")[learned[0]], second[learned[0]], atol=1e-6)
    other = config_for(TinyConvConfig(channels=5), schedule={"epochs": 1})
    with pytest.raises(ConfigError, match="another architecture"):
        train(TRAIN, VAL, CMVN, other, tmp_path / "third", start_from=first)


def test_weights_left_of_validation_do_not_depend_on_it(tmp_path: Path) -> None:
    """Validation must not touch random state, running statistics or modes of the training."""
    raw: list[torch.Tensor] = []

    def run(out: Path, val: WindowSet) -> None:
        def watch(record: EpochRecord) -> None:
            if record.epoch == 3:
                raw.append(load_file(out / "checkpoints" / LAST)["model/backbone.stem_norm.running_var"])

        train(TRAIN, val, CMVN, config_for(schedule={"epochs": 3}), out, on_epoch=watch)

    run(tmp_path / "a", VAL)
    run(tmp_path / "b", windows_for(7, rows=24))
    assert torch.equal(*raw)


@pytest.mark.parametrize(
    "model", [TcnConfig(**TINY_TCN), TcnConfig(**TINY_TCN, members=2), TinyConvConfig(channels=8)], ids=str
)
def test_learns_from_rows_longer_than_windows(model: Any, tmp_path: Path) -> None:
    """The sweep is elsewhere in every row; only where it ends tells a model what to look at."""
    masks = {"time_frames": 4, "mel_bands": 2}
    config = config_for(
        model,
        CONTEXT,
        schedule={"epochs": 20, "learning_rate": 1e-2},
        ema={"decay": 0.9},
        validation={"keep": "last"},
        spec_augment=masks,
    )
    summary = train(windows_for(1, rows=160, context=CONTEXT), VAL, CMVN, config, tmp_path)
    assert summary.val_auc > 0.9


def test_norms_and_biases_are_not_decayed() -> None:
    from wakeword_core.models.scoring import new_model

    model = new_model(config_for())
    groups = make_optimizers(model.named_parameters(), TrainingConfig(optimizer={"weight_decay": 0.3})).groups
    decayed = {id(one) for group in groups if group["weight_decay"] for one in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decayed) == (name.endswith("weight") and "norm" not in name), name
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_global_random_state_and_threads_stay(tmp_path: Path) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(TRAIN, VAL, CMVN, config_for(schedule={"epochs": 1}, compute={"threads": threads + 1}), tmp_path)
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
        names = ("mel", "labels", "roles", "views", "word_ends", "synthetic")
        return WindowSet(*(getattr(windows, name)[keep] for name in names))

    for train_set, val_set, message in (
        (only(TRAIN, ~positives), VAL, "training split has no window of 'hey robin'"),
        (only(TRAIN, positives), VAL, "training split has no window of negatives"),
        (TRAIN, only(VAL, ~positives), "validation split has no window of wake words"),
        (TRAIN, only(VAL, positives), "validation split has no window of negatives"),
        (replace(TRAIN, mel=TRAIN.mel[:, :8]), VAL, r"training windows are \(8, 32\)"),
        (LONG, VAL, r"training windows are \(16, 56\)"),
        (TRAIN, LONG, r"validation windows are \(16, 56\)"),
        (TRAIN, replace(VAL, labels=VAL.labels * 2), "validation windows have labels outside 0 to 1"),
    ):
        with pytest.raises(DataError, match=message):
            train(train_set, val_set, CMVN, config_for(), tmp_path)


def test_missing_hard_negatives_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    roles = torch.where(TRAIN.roles == ROLES.index("hard_negative"), ROLES.index("negative"), TRAIN.roles)
    train(replace(TRAIN, roles=roles), VAL, CMVN, config_for(schedule={"epochs": 1}), tmp_path)
    assert "no hard negatives" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_trains_on_cuda_with_amp(tmp_path: Path) -> None:
    for index, model in enumerate((None, BcResNetConfig(), TinyConvConfig())):
        summary = train(LONG, VAL, CMVN, config_for(model, CONTEXT, compute={"device": "cuda"}), tmp_path / str(index))
        assert np.isfinite(summary.val_loss)


@pytest.mark.parametrize("steps", [12, 1])  # of one each is skipped at first
def test_steps_that_float16s_scaler_skips_are_no_divergence(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts far too high, as it may on a GPU, and comes down by halves; skipped steps leave the average alone."""
    scaler = GradScaler("cpu", init_scale=3.3e38, growth_interval=10_000)
    monkeypatch.setattr("wakeword_core.training.run.GradScaler", lambda *_, **__: scaler)
    config = config_for(sampling={"steps_per_epoch": steps}, schedule={"epochs": 2})
    records: list[EpochRecord] = []
    train(TRAIN, VAL, CMVN, config, tmp_path, on_epoch=records.append)
    assert all(math.isfinite(record.gradient_norm) and math.isfinite(record.train_loss) for record in records)
    assert scaler.get_scale() < 3e38


def test_a_network_that_looks_back_farther_than_a_window_is_refused(tmp_path: Path) -> None:
    config = config_for(TcnConfig(channels=8, dilations=(1, 2, 4, 8), head_steps=2, kernel=3))
    with pytest.raises(ConfigError, match=r"the network sees \d+ frames, but features.frontend.window_frames is"):
        train(TRAIN, VAL, CMVN, config, tmp_path)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_signal_in_the_middle_of_an_epoch_loses_no_batch(optimizer: str, term_raises: None, tmp_path: Path) -> None:
    settings = dropout_config(optimizer={"kind": optimizer})
    whole = train(LONG, VAL, CMVN, settings, tmp_path / "whole")

    def signalled(what: str, done: int, total: int) -> None:
        if done in (2, 6, 8):  # in the first epoch, in the second, and at its end
            os.kill(os.getpid(), signal.SIGTERM)

    first: list[int] = []
    for at in (2, 6, 8):
        with pytest.raises(InterruptedError):
            train(
                LONG,
                VAL,
                CMVN,
                settings,
                tmp_path / "parts",
                lambda what, done, total: (first.append(done), signalled(what, done, total)),
            )
        assert first[-1] == at
    first.clear()
    parts = train(LONG, VAL, CMVN, settings, tmp_path / "parts", lambda what, done, total: first.append(done))
    assert first == [9, 10, 11, 12]
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))
    assert replace(whole, **TIMED) == replace(parts, **TIMED)


@pytest.mark.parametrize(
    "changed",
    [
        {"training.ema.decay": 0.3},
        {"training.ema.final_decay": 0.95},
        {"training.optimizer.adaptive_clip": 0.5},
        {"training.optimizer.clip_norm": 0.01},
    ],
)
def test_averaging_and_clipping_reach_the_weights(changed: dict[str, float], tmp_path: Path) -> None:
    plain = dropout_config(schedule={"epochs": 1}, ema={"decay": 0.2, "final_fraction": 0.9})
    for name, one in (("plain", plain), ("changed", plain.changed(changed))):
        train(LONG, VAL, CMVN, one, tmp_path / name)
    assert not same_weights(tmp_path / "plain", tmp_path / "changed")


def test_a_skipped_step_leaves_the_average_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4 steps the last is broken, and skipped by float16's scaler."""
    updated: list[int] = []
    scaler = GradScaler("cpu", init_scale=2.0)
    monkeypatch.setattr("wakeword_core.training.run.GradScaler", lambda *_, **__: scaler)
    monkeypatch.setattr("wakeword_core.training.loop.update_average", lambda *_: updated.append(len(broken)))
    real, broken = Optimizers.step, [False, True, False, False]

    def step(optimizers: Optimizers, clip: Clipper, scaler: GradScaler) -> torch.Tensor:
        if broken.pop():
            next(one.grad for group in optimizers.groups for one in group["params"]).fill_(math.nan)
        return real(optimizers, clip, scaler)

    monkeypatch.setattr(Optimizers, "step", step)
    train(LONG, VAL, CMVN, dropout_config(schedule={"epochs": 1}, sampling={"steps_per_epoch": 4}), tmp_path)
    assert updated == [3, 2, 0]
