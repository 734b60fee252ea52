"""A training that was ended, however, goes on to the same weights."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sweeps_to_train import (
    CMVN,
    CONTEXT,
    LONG,
    LOSS,
    TIMED,
    TINY_TCN,
    TRAIN,
    VAL,
    KilledError,
    config_for,
    history,
    same_weights,
    untimed,
    weights,
)

from wakeword_core.config import BcResNetConfig, TcnConfig, TinyConvConfig
from wakeword_core.training.checkpoint import CHECKPOINTS, LAST, load_checkpoint, save_checkpoint
from wakeword_core.training.loop import train
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import run_hash


@pytest.mark.parametrize(
    ("model", "keep"),
    [
        (TcnConfig(**TINY_TCN, dropout=0.3), "best"),
        (TcnConfig(**TINY_TCN, dropout=0.3), "last"),
        (TcnConfig(**TINY_TCN, dropout=0.3, members=2), "last"),
        (BcResNetConfig(dropout=0.3), "best"),
        (TinyConvConfig(channels=4), "best"),
    ],
    ids=str,
)
def test_three_epochs_and_three_more_are_six_bit_for_bit(model: Any, keep: str, tmp_path: Path) -> None:
    """With all that is random: augmentation, noise, masks, dropout, and which window of a row is seen."""
    config = config_for(model, CONTEXT, sampling={"steps_per_epoch": 2}, validation={"keep": keep})
    whole = train(LONG, VAL, CMVN, config, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise KilledError

    records: list[EpochRecord] = []
    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", on_epoch=kill)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        parts = train(LONG, VAL, CMVN, config, tmp_path / "parts", on_epoch=records.append)
    assert [record.epoch for record in records] == [4, 5, 6]
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))
    assert replace(whole, **TIMED) == replace(parts, **TIMED)


def test_what_is_trained_beside_the_model_goes_on_too(tmp_path: Path) -> None:
    """ArcFace's centres and what the optimizer knows of them; the model that is saved has neither."""
    loss = {**LOSS, "metric": "arcface", "metric_weight": 5.0, "pooling": "window", "class_weights": "balanced"}
    config = config_for(
        TcnConfig(**TINY_TCN, dropout=0.3, members=2), CONTEXT, sampling={"steps_per_epoch": 2}, loss=loss
    )
    train(LONG, VAL, CMVN, config, tmp_path / "whole")

    def kill(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", on_epoch=kill)
    early = load_file(tmp_path / "parts" / "checkpoints" / LAST)
    train(LONG, VAL, CMVN, config, tmp_path / "parts")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert untimed(history(tmp_path / "whole")) == untimed(history(tmp_path / "parts"))
    whole, parts = (load_file(tmp_path / name / "checkpoints" / LAST) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() == early.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    centres = "objective/metric.centres"
    assert whole[centres].shape == (2, 2, 16) and not torch.equal(whole[centres], early[centres])
    assert not any("centres" in name for name in weights(tmp_path / "whole"))


_SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import sweeps_to_train as t
def kill(what, done, total):
    if done == 14:
        os.kill(os.getpid(), signal.SIGKILL)
from wakeword_core.training.loop import train
train(t.TRAIN, t.VAL, t.CMVN, t.config_for(), Path(sys.argv[2]), kill)
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


@pytest.mark.parametrize("change", ["settings", "data", "word ends", "cmvn"])
def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(record: EpochRecord) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train(TRAIN, VAL, CMVN, config_for(), tmp_path, on_epoch=kill)
    records: list[EpochRecord] = []
    changed = {"data": {"mel": TRAIN.mel + 1}, "word ends": {"word_ends": TRAIN.word_ends.clamp_max(26)}}
    data = replace(TRAIN, **changed.get(change, {}))
    cmvn = replace(CMVN, mean=CMVN.mean + 1) if change == "cmvn" else CMVN
    config = config_for(schedule={"learning_rate": 1e-4}) if change == "settings" else config_for()
    train(data, VAL, cmvn, config, tmp_path, on_epoch=records.append)
    assert records[0].epoch == 1
    assert "other data or settings" in caplog.text


def test_stopping_early_is_remembered_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = replace(VAL, labels=VAL.labels[torch.randperm(80, generator=torch.Generator().manual_seed(3))])
    config = config_for(schedule={"epochs": 40, "learning_rate": 1e-2}, validation={"patience": 2})

    def fail(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("wakeword_core.training.run.save_model", fail)
        with pytest.raises(KilledError):
            train(TRAIN, shuffled, CMVN, config, tmp_path)
    epochs = len(history(tmp_path))
    assert train(TRAIN, shuffled, CMVN, config, tmp_path).epochs == epochs


def test_an_epoch_begun_on_another_kind_of_device_begins_again(
    term_raises: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Random states of a GPU mean nothing to a CPU; all else goes on."""
    config = config_for(sampling={"steps_per_epoch": 4}, schedule={"epochs": 3})

    def stop(what: str, done: int, total: int) -> None:
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedError):
        train(TRAIN, VAL, CMVN, config, tmp_path, stop)
    folder = tmp_path / CHECKPOINTS
    identity = run_hash(TRAIN, VAL, CMVN, config)
    stopped = load_checkpoint(folder, identity)
    assert stopped is not None and len(stopped.tensors["partial_epoch"]["losses"]) == 2
    save_checkpoint(folder, replace(stopped, device="cuda"))
    train(TRAIN, VAL, CMVN, config, tmp_path)
    assert "the epoch begun on cuda is begun again" in caplog.text
    assert [record.epoch for record in history(tmp_path)] == [1, 2, 3]
