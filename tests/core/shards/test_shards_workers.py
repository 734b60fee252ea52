"""Threads or processes, many or one: the same shards, every fault named, and nobody left running."""

import errno
import multiprocessing
import os
import signal

import pandas as pd
import pytest

from wakeword_core.config import ShardsConfig
from wakeword_core.cores import process_pool
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.shards import building, packing
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import shard_paths
from wakeword_core.shards.packing import PROCESSES_FROM, Packers, ShardJob
from wakeword_core.store.parts import Parts

RATE = 16_000


@pytest.fixture
def rows(recordings):
    """The manifest rows of ten recordings, half a second each."""
    facts = {"label": "robin", "role": "positive", "source": "mine", "seconds": 0.5}
    span = {"speech_start": 0.1, "speech_end": float("nan")}
    return pd.DataFrame(
        [
            {"recording_id": hash_file(path), "path": f"{path.parent.name}/{path.name}", "speaker": path.parent.name}
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
        build_shards(
            rows, {"mine": recordings}, RATE, ShardsConfig(count=4), workers, 1, out, Parts(tmp_path / f"{name}-parts"),
            lambda *call: calls.append(call), retries,
        )  # fmt: skip
        assert calls[-1] == ("pack recordings", 10, 10)
        return [path.read_bytes() for path in shard_paths(out)]

    return run


@pytest.fixture
def started(monkeypatch):
    """Processes from the first recording on; the pools that were started."""
    pools = []

    def noted(*arguments):
        pools.append(process_pool(*arguments))
        return pools[-1]

    monkeypatch.setattr(packing, "PROCESSES_FROM", 0)
    monkeypatch.setattr(packing, "process_pool", noted)
    return pools


class Deadly:
    """Rows that kill the process that they are sent to."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


def test_processes_write_what_threads_write_and_then_end(pack, started, monkeypatch):
    by_processes = pack("processes")
    assert 1 <= len(started) <= 2 and multiprocessing.active_children() == []
    monkeypatch.setattr(packing, "PROCESSES_FROM", PROCESSES_FROM)
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
    assert started and multiprocessing.active_children() == []
    assert not list((tmp_path / "out").glob(".*"))


def test_an_unforeseen_fault_in_a_process_names_its_shard(rows, started, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"shard 0000\d\.parquet failed after 2 tries: KeyError: 'mine'"):
        build_shards(rows, {}, RATE, ShardsConfig(count=4), 2, 1, tmp_path / "out", Parts(tmp_path / "parts"))
    assert not list((tmp_path / "out").iterdir())


def test_a_worker_that_dies_is_replaced(pack, started, monkeypatch, caplog):
    expected = pack("calm")
    killed = []

    def dies_once(rows, *others):
        if not killed:
            killed.append(len(rows))
            return ShardJob(Deadly(rows), *others)
        return ShardJob(rows, *others)

    monkeypatch.setattr(building, "ShardJob", dies_once)
    assert pack("stormy") == expected
    assert f"its worker process died after about 0 of {killed[0]} recordings" in caplog.text


def test_a_worker_that_keeps_dying_is_reported(pack, started, monkeypatch, tmp_path):
    monkeypatch.setattr(building, "ShardJob", lambda rows, *others: ShardJob(Deadly(rows), *others))
    with pytest.raises(DataError, match=r"shard .* failed after 3 tries: its worker process died"):
        pack("out", retries=2)
    assert multiprocessing.active_children() == [] and not list((tmp_path / "out").iterdir())


def test_a_caller_that_has_had_enough_waits_for_no_shard(rows, recordings, started, tmp_path):
    def interrupted(what, done, total):
        raise KeyboardInterrupt

    config = ShardsConfig(count=4)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build_shards(
            rows, {"mine": recordings}, RATE, config, 2, 1, tmp_path / "out", Parts(tmp_path / "parts"), interrupted
        )
    assert started and multiprocessing.active_children() == []
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("error", [MemoryError("no more"), ValueError("odd")])
def test_an_unforeseen_fault_names_its_shard_too(pack, monkeypatch, error):
    def broken(*_arguments):
        raise error

    monkeypatch.setattr(packing, "pack_shard", broken)
    with pytest.raises(
        DataError, match=rf"shard 0000\d\.parquet failed after 2 tries: {type(error).__name__}: {error}"
    ):
        pack("out")


def test_a_full_disk_is_said_at_once(pack, monkeypatch, tmp_path):
    tries = []

    def full(*_arguments):
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing, "pack_shard", full)
    with pytest.raises(DataError, match=r"the disk of .*out is full, shard 0000\d\.parquet cannot be written.*--home"):
        pack("out", workers=1, retries=5)
    assert len(tries) == 1 and not list((tmp_path / "out").iterdir())
