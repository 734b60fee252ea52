"""Threads or processes, many or one: the same shards, every fault named, and nobody left running."""

import errno
import io
import json
import os

import pandas as pd
import pytest

from wakeword_core.config import ShardsConfig
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.shards import packers, shard_worker
from wakeword_core.shards.packed_split import build_shards, shard_paths
from wakeword_core.shards.packers import PROCESSES_FROM, Packers
from wakeword_core.shards.packing import PackedRow, ShardJob
from wakeword_core.shards.shard_worker import WorkerProcess
from wakeword_core.store.artifacts import Parts

RATE = 16_000


@pytest.fixture
def rows(recordings):
    """The manifest rows of ten recordings, half a second each."""
    facts = {"label": "robin", "role": "positive", "source": "mine", "seconds": 0.5}
    span = {"speech_start": 0.1, "speech_end": float("nan")}
    return pd.DataFrame(
        [
            {"id": hash_file(path), "path": f"{path.parent.name}/{path.name}", "speaker": path.parent.name}
            | facts
            | span
            for path in sorted(recordings.rglob("*.wav"))
        ]
    )


@pytest.fixture
def pack(tmp_path, rows, recordings):
    def run(name, workers=2, retries=1):
        out = tmp_path / name
        out.mkdir()
        calls = []
        config = ShardsConfig(count=4, retries=retries)
        build_shards(
            rows, {"mine": recordings}, RATE, config, workers, 1, out, Parts(tmp_path / f"{name}-parts"),
            lambda *call: calls.append(call),
        )  # fmt: skip
        assert calls[-1] == ("pack recordings", 10, 10)
        return [path.read_bytes() for path in shard_paths(out)]

    return run


@pytest.fixture
def started(monkeypatch):
    """Processes from the first recording on; the ids of all that were started."""
    pids = []

    class Noted(WorkerProcess):
        def __init__(self):
            super().__init__()
            pids.append(self.pid)

    monkeypatch.setattr(packers, "PROCESSES_FROM", 0)
    monkeypatch.setattr(packers, "WorkerProcess", Noted)
    return pids


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_write_what_threads_write_and_then_end(pack, started, monkeypatch):
    by_processes = pack("processes")
    assert 1 <= len(started) <= 2 and not any(running(pid) for pid in started)
    monkeypatch.setattr(packers, "PROCESSES_FROM", PROCESSES_FROM)
    assert pack("threads") == by_processes and pack("one", workers=1) == by_processes
    assert len(started) <= 2


def test_processes_start_only_for_much_work():
    assert Packers(2, 1, PROCESSES_FROM).processes
    assert not Packers(2, 1, PROCESSES_FROM - 1).processes and not Packers(1, 1, 1e9).processes
    assert Packers(0, 1, 0).workers == len(os.sched_getaffinity(0))


def test_a_fault_in_a_process_names_shard_and_recording(pack, started, recordings, tmp_path):
    (recordings / "spk1" / "3.wav").unlink()
    with pytest.raises(
        DataError, match=r"shard 0000\d\.parquet failed after 2 tries: recording mine/spk1/3\.wav is gone since"
    ):
        pack("out")
    assert not any(running(pid) for pid in started)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_worker_that_dies_is_replaced(pack, started, monkeypatch, caplog):
    expected = pack("calm")
    original, killed = WorkerProcess.pack, []

    def dies_once(worker, *arguments):
        if not killed:
            killed.append(worker.pid)
            os.kill(worker.pid, 9)
        return original(worker, *arguments)

    monkeypatch.setattr(WorkerProcess, "pack", dies_once)
    assert pack("stormy") == expected
    assert "its worker process was killed (SIGKILL) after about 0 of" in caplog.text


def test_a_worker_that_keeps_dying_is_reported(pack, started, monkeypatch, tmp_path):
    original = WorkerProcess.pack

    def dies(worker, *arguments):
        os.kill(worker.pid, 9)
        return original(worker, *arguments)

    monkeypatch.setattr(WorkerProcess, "pack", dies)
    with pytest.raises(DataError, match=r"shard .* failed after 3 tries: its worker process was killed \(SIGKILL\)"):
        pack("out", retries=2)
    assert not any(running(pid) for pid in started) and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("error", [MemoryError("no more"), ValueError("odd")])
def test_an_unforeseen_fault_names_its_shard_too(pack, monkeypatch, error):
    def broken(*_arguments):
        raise error

    monkeypatch.setattr(packers, "pack_shard", broken)
    with pytest.raises(
        DataError, match=rf"shard 0000\d\.parquet failed after 2 tries: {type(error).__name__}: {error}"
    ):
        pack("out")


def test_a_full_disk_is_said_at_once(pack, monkeypatch, tmp_path):
    tries = []

    def full(*_arguments):
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packers, "pack_shard", full)
    with pytest.raises(DataError, match=r"the disk of .*out is full, shard 0000\d\.parquet cannot be written.*--home"):
        pack("out", workers=1, retries=5)
    assert len(tries) == 1 and not list((tmp_path / "out").iterdir())


def serve(*asked):
    answers = io.StringIO()
    shard_worker.serve(io.StringIO("".join(json.dumps(one) + "\n" for one in asked)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_what_a_process_answers(tmp_path, recordings, rows):
    row = next(rows[list(PackedRow._fields)].itertuples(index=False, name=None))
    job = ShardJob([PackedRow(*row)], {"mine": recordings}, RATE)
    assert ShardJob.from_json(json.loads(json.dumps(job.as_json()))).rows[0][:6] == job.rows[0][:6]
    good = {**job.as_json(), "path": str(tmp_path / "one.parquet")}
    answers = serve(
        good,
        {**good, "roots": {}, "path": str(tmp_path / "two.parquet")},
        {**good, "path": str(tmp_path / "no" / "where")},
    )
    assert answers[0] == {"done": 1} and answers[1] == {"copied": 0}
    assert answers[-2] == {"error": "KeyError: 'mine'"}
    assert answers[-1]["errno"] == errno.ENOENT
    assert (tmp_path / "one.parquet").stat().st_size > 16_000
