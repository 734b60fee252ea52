"""Trackers follow a training, several at once, and none that fails stops it."""

import logging
import os
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakeword_core.config import Config
from wakeword_core.errors import WakewordError
from wakeword_core.training.records import EpochRecord
from wakeword_pipeline.orchestration.home import require_own
from wakeword_pipeline.tracking import trackers as module
from wakeword_pipeline.tracking.trackers import EachEpoch, Followed, TensorBoard, Tracker, Trackers, WeightsAndBiases

FOLLOWED = {"name": "hey_robin-01234567", "key": "0123456789abcdef", "stage": "trained_model", "settings": {"seed": 1}}


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 1.0, 1 / epoch, 0.5, 0.5, 0.5, 0.5, 0.5, 1e-3, 1.0, 100.0, 1.0, loss_word=0.25)


class Written(Tracker):
    """Writes down what it is told, and fails at one of its calls."""

    def __init__(self, fails_at: str = "") -> None:
        self.told: list[Any] = []
        self._fails_at = fails_at

    def _write(self, what: str, value: Any) -> None:
        if what == self._fails_at:
            raise ConnectionError(f"no route to the host at {what}")
        self.told.append((what, value))

    def start(self, followed: Followed) -> None:
        self._write("start", followed.name)

    def epoch(self, record: EpochRecord) -> None:
        self._write("epoch", record.epoch)

    def end(self, figures: Any) -> None:
        self._write("end", figures)


class Training:
    """Stands for a project that trains: two epochs, then figures."""

    home = Path("/home-of-nobody")

    def __init__(self, **tracking: Any) -> None:
        self.config = Config.model_validate({"phrase": "hey robin", "tracking": tracking})

    def expected_key(self, stage: str) -> str:
        return "0123456789abcdef"

    def find(self, stage: str) -> Any:
        return SimpleNamespace(figures={"val_loss": 0.5, "epochs": 2, "kept": True, "device": "cpu", "sources": []})


def follow(trackers: Trackers, training: Any, epochs: int = 2) -> None:
    with trackers.follow(training, "trained_model"):
        for epoch in range(1, epochs + 1):
            trackers.epoch(record(epoch))


def test_each_is_told_of_beginning_epochs_and_end() -> None:
    one, epochs = Written(), []
    follow(Trackers({"one": one, "other": EachEpoch(epochs.append)}), Training())
    figures = {"val_loss": 0.5, "epochs": 2.0, "kept": 1.0}
    assert one.told == [("start", "hey_robin-01234567"), ("epoch", 1), ("epoch", 2), ("end", figures)]
    assert [found.epoch for found in epochs] == [1, 2]


def test_a_training_that_is_found_complete_is_not_followed() -> None:
    one, training = Written(), Training()
    training.find = None  # nor is its artifact looked for, as of the many stages that are no training
    follow(Trackers({"one": one}), training, epochs=0)
    assert one.told == []


def test_a_training_that_fails_is_ended_without_figures_and_fails_as_before() -> None:
    one, trackers = Written(), None
    trackers = Trackers({"one": one})
    with pytest.raises(KeyboardInterrupt), trackers.follow(Training(), "tuned_model"):
        trackers.epoch(record(1))
        raise KeyboardInterrupt
    assert one.told == [("start", "hey_robin-tuned-01234567"), ("epoch", 1), ("end", None)]


@pytest.mark.parametrize("at", ["start", "epoch", "end"])
def test_one_that_fails_is_named_once_and_dropped_and_the_others_go_on(
    at: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Written(fails_at=at), Written()
    with caplog.at_level(logging.WARNING):
        follow(Trackers({"bad": bad, "good": good}), Training())
    assert [what for what, _ in good.told] == ["start", "epoch", "epoch", "end"]
    (warned,) = caplog.records
    assert (
        warned.message.startswith("bad follows this training no further")
        and f"no route to the host at {at}" in warned.message
    )
    assert [what for what, _ in bad.told] == {"start": [], "epoch": ["start"], "end": ["start", "epoch", "epoch"]}[at]


def test_one_that_never_returns_holds_up_neither_the_training_nor_the_others(caplog) -> None:
    good, returns, began = Written(), threading.Event(), time.monotonic()
    hung = EachEpoch(lambda record: returns.wait())  # type: ignore[func-returns-value]
    trackers = Trackers({"hung": hung, "good": good}, patience_seconds=0.2)
    with caplog.at_level(logging.WARNING):
        follow(trackers, Training(), epochs=50)
    assert time.monotonic() - began < 10 and trackers.stuck == {"hung"}
    assert [value for what, value in good.told if what == "epoch"] == list(range(1, 51)) and good.told[-1][0] == "end"
    (warned,) = caplog.records
    assert warned.message.startswith("hung follows this training no further") and "come back" in warned.message
    returns.set()


def test_one_that_is_slow_is_told_of_everything_in_order_and_waited_for() -> None:
    slow, here = Written(), []
    write, thread = slow.epoch, threading.current_thread()
    slow.epoch = lambda record: time.sleep(0.02) or write(record)  # type: ignore[method-assign,func-returns-value]
    at_once = EachEpoch(lambda record: here.append((record.epoch, threading.current_thread() is thread)), at_once=True)
    trackers = Trackers({"slow": slow, "here": at_once})
    with trackers.follow(Training(), "trained_model"):
        for epoch in range(1, 6):
            trackers.epoch(record(epoch))
            assert here[-1] == (epoch, True)
    assert [value for what, value in slow.told if what == "epoch"] == [1, 2, 3, 4, 5]
    assert slow.told[-1][0] == "end" and trackers.stuck == set()


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_what_is_not_installed_is_a_warning_that_says_how_to_install_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    good = Written()
    follow(Trackers({"good": good}), Training(trackers=[name]))
    assert len(good.told) == 4
    assert f"{name} follows this training no further" in caplog.text and "[trackers]" in caplog.text


def test_nothing_is_written_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "home" / "trackers").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / "trackers" / "wandb").symlink_to(tmp_path / "elsewhere")
    followed = Followed(tmp_path / "home" / "trackers", **FOLLOWED)
    assert followed.own_folder("tensorboard", "a").is_dir()
    with pytest.raises(WakewordError, match="is a link"):
        followed.own_folder("wandb")


def test_weights_and_biases_does_not_wait_for_a_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace())
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    follow(Trackers({}), Training(trackers=["wandb"], wandb_mode="online"))
    assert "WANDB_API_KEY is not set" in caplog.text


def test_tensorboard_reads_each_figure_at_its_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra trackers")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in ((1, 2), (3,)):  # stopped, and gone on
        tracker = TensorBoard()
        tracker.start(Followed(tmp_path, **FOLLOWED))
        for epoch in epochs:
            tracker.epoch(record(epoch))
        tracker.end({"val_auc": 0.75} if epochs == (3,) else None)
    found = EventAccumulator(str(tmp_path / "tensorboard" / "hey_robin-01234567")).Reload()
    losses = [(one.step, one.value) for one in found.Scalars("epoch/val_loss")]
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [one.value for one in found.Scalars("epoch/loss_word")] == [0.25] * 3
    assert [(one.step, one.value) for one in found.Scalars("final/val_auc")] == [(3, 0.75)]
    assert "epoch/val_fpr" not in found.Tags()["scalars"]  # which was not measured


def wandb_records(data: bytes) -> Iterator[Any]:
    """Records of a run that is kept: in blocks of 32 kB as LevelDB's log has them, behind a header."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, gathered = 7, b""
    while position + 7 <= len(data):
        if 32_768 - position % 32_768 < 7:  # no header fits in the rest of a block
            position += 32_768 - position % 32_768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        gathered += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(gathered)
            gathered = b""


def test_weights_and_biases_keeps_a_run_in_the_home_and_tells_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra trackers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    tracker = WeightsAndBiases("offline")
    tracker.start(Followed(tmp_path / "home" / "trackers", **FOLLOWED))
    waits = tracker._run.settings
    assert waits.init_timeout == waits.finish_timeout == 60 and waits.finish_timeout_raises  # and not without an end
    for epoch in (1, 2):
        tracker.epoch(record(epoch))
    tracker.end({"val_auc": 0.75})
    (kept,) = (tmp_path / "home" / "trackers" / "wandb").glob("offline-run-*-0123456789abcdef/*.wandb")
    records, deadline = [], time.monotonic() + 60
    while not any(one.WhichOneof("record_type") == "exit" for one in records):  # its own process writes it
        assert time.monotonic() < deadline
        time.sleep(0.05)
        records = list(wandb_records(kept.read_bytes()))
    logged = [
        {item.key or item.nested_key[0]: item.value_json for item in one.history.item}
        for one in records
        if one.WhichOneof("record_type") == "history"
    ]
    assert [(row["_step"], float(row["val_loss"])) for row in logged] == [("1", 1.0), ("2", 0.5)]
    assert any("final_val_auc" in str(one.summary) for one in records)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    require_own(tmp_path / "home")  # though wandb leaves a link to its log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
    (run,) = (one.run for one in records if one.WhichOneof("record_type") == "run")
    assert (run.host, run.display_name, run.git.remote_url) == ("", "hey_robin-01234567", "")
    assert not any(one.WhichOneof("record_type") in ("environment", "stats", "files") for one in records)


def test_no_setting_of_trackers_is_part_of_a_key() -> None:
    from wakeword_core.graph.stages import STAGES

    plain, followed = Config(), Config.model_validate({"tracking": {"trackers": ["tensorboard", "wandb"]}})
    assert plain != followed
    for stage in STAGES:
        for split in stage.splits:
            assert stage.deciding_settings(plain, split) == stage.deciding_settings(followed, split)


def test_mlflow_is_one_of_them_and_may_fail_too(caplog: pytest.LogCaptureFixture) -> None:
    def broken(record: EpochRecord) -> None:
        raise OSError(5, "Input/output error", "mlflow.db")

    good = Written()
    follow(Trackers({"MLflow": EachEpoch(broken), "good": good}), Training())
    assert len(good.told) == 4 and "MLflow follows this training no further" in caplog.text
    assert len(caplog.records) == 1 and module.log.name == caplog.records[0].name
