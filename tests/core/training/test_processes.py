"""Processes that share a training are started, listened to and ended, by the setting alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import workers_to_start
from sweeps_to_train import CMVN, LOSS, TAUGHT, VAL, VIEWED, KilledError, assert_near, history, oracle, sgd_config

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.progress import silent
from wakeword_core.training.checkpoint import CHECKPOINTS, load_checkpoint
from wakeword_core.training.loop import train
from wakeword_core.training.processes import train_in_processes
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import Job, run_hash


def _start(work: Any, out: Path, progress: Any = silent) -> None:
    out.mkdir(exist_ok=True)
    job = Job(VIEWED, VAL, CMVN, sgd_config(compute={"processes": 2}))
    train_in_processes(work, job, out, progress, lambda record: None)


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """What a user with two GPUs does, on the CPU; with a teacher, too."""
    config = sgd_config(
        compute={"processes": 2, "threads": 1},
        loss={**LOSS, "class_weights": "balanced"},
        sampling={"clean_share": 0.3},
        teacher=TAUGHT,
    )
    teacher = oracle(VIEWED)
    seen: list[tuple[str, int, int]] = []
    records: list[EpochRecord] = []
    several, one = tmp_path / "several", tmp_path / "one"
    train(VIEWED, VAL, CMVN, config, several, lambda *step: seen.append(step), records.append, teacher=teacher)
    assert seen[-1] == ("training", 4, 4) and records == history(several) and len(records) == 2
    assert not (several / "checkpoints" / "processes").exists()
    alone = config.changed({"compute.processes": 1})
    train(VIEWED, VAL, CMVN, alone, one, teacher=teacher)
    assert_near(one, several)
    train(VIEWED, VAL, CMVN, alone, several, on_epoch=records.append, teacher=teacher)
    assert len(records) == 2  # they know the training of one process for theirs, which has ended


def test_a_listener_that_fails_ends_them(tmp_path: Path) -> None:
    def kill(record: EpochRecord) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        train(
            VIEWED, VAL, CMVN, sgd_config(compute={"processes": 2}, schedule={"epochs": 500}), tmp_path, on_epoch=kill
        )


def test_a_process_that_dies_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WakewordError, match=r"ended with exit status -9; .*processes\.log has what it printed"):
        _start(workers_to_start.is_killed, tmp_path)


def test_a_process_that_breaks_is_a_sentence_and_a_traceback_in_its_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WakewordError, match="ended with exit status 1; "):
        _start(workers_to_start.breaks, tmp_path)
    assert "RuntimeError: a bug" in (tmp_path / "checkpoints" / "processes.log").read_text()
    assert "Traceback" not in capfd.readouterr().err


def test_what_goes_wrong_in_a_process_is_raised_here_and_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="diverged"):
        _start(workers_to_start.fails, tmp_path)


def test_when_memory_is_exhausted_all_start_again_with_fewer_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match="4 rows at once"):
        _start(workers_to_start.wants_fewer_rows, tmp_path)
    assert [record.args[0] for record in caplog.records if "exhausted" in record.message] == [8, 4]


def test_a_signal_is_passed_on_and_all_have_ended_before_it_takes_effect(term_raises: None, tmp_path: Path) -> None:
    signals = iter([signal.SIGTERM])  # a second one would not be held back

    def interrupt(what: str, done: int, total: int) -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedError):
        _start(workers_to_start.finishes_its_batch, tmp_path, interrupt)
    assert (tmp_path / "saved 0").exists()


def test_a_second_ctrl_c_ends_processes_that_do_not_finish(tmp_path: Path) -> None:
    def again() -> None:
        while len(list(tmp_path.glob("asked *"))) < 2:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    second = threading.Thread(target=again)

    def press(what: str, done: int, total: int) -> None:
        if second.ident is None:
            second.start()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _start(workers_to_start.never_finishes_its_batch, tmp_path, press)
    second.join()
    started = [int(file.read_text()) for file in tmp_path.glob("pid *")]
    assert len(started) == 2 and not any(map(psutil.pid_exists, started))
    assert not (tmp_path / "checkpoints" / "processes").exists()


def test_nobody_else_can_connect_to_them_or_read_what_they_share(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\['127\.0\.0\.1'\] 700"):
        _start(workers_to_start.tells_where_it_listens, tmp_path)


_SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    from sweeps_to_train import CMVN, VAL, VIEWED, sgd_config
    from wakeword_core.training.loop import train
    signals = iter([signal.SIGINT])
    def interrupt(what, done, total):
        if done >= 3:
            for number in signals:
                os.killpg(0, number)
    config = sgd_config(compute={"processes": 2}, schedule={"epochs": 100})
    train(VIEWED, VAL, CMVN, config, Path(sys.argv[2]), interrupt)
"""


def test_ctrl_c_in_a_terminal_saves_the_last_batch_and_is_told_once(tmp_path: Path) -> None:
    """There it reaches every process at once."""
    script, folder = tmp_path / "script.py", Path(__file__).parent
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(folder), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(folder.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, start_new_session=True)
    assert done.returncode == -signal.SIGINT, done.stderr
    assert done.stderr.count("stopping when the current batch is whole") == 1 and "Process" not in done.stderr
    identity = run_hash(VIEWED, VAL, CMVN, sgd_config(schedule={"epochs": 100}))
    checkpoint = load_checkpoint(tmp_path / "out" / CHECKPOINTS, identity)
    assert checkpoint is not None and checkpoint.step >= 3


@pytest.mark.skipif(torch.cuda.device_count() > 8, reason="has as many GPUs")
def test_each_process_needs_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"compute\.processes is 9, but there are \d GPUs"):
        train(VIEWED, VAL, CMVN, sgd_config(compute={"processes": 9, "device": "cuda"}), tmp_path)
