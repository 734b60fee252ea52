"""Processes, or none besides this one: the same shards, every fault named, and nobody left running."""

import errno
import multiprocessing
import signal

import pandas as pd
import pytest
from tasks import die_once

from wakeword_core.config import ShardsConfig
from wakeword_core.cores import process_pool
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.files import hash_file
from wakeword_core.shards import building, packing
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import shard_paths
from wakeword_core.shards.packing import ShardJob
from wakeword_core.store.parts import Parts
from wakeword_core.workers import base, local
from wakeword_core.workers.local import LocalWorkers

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
            rows, {"mine": recordings}, RATE, ShardsConfig(count=4), LocalWorkers(workers), 1, out,
            Parts(tmp_path / f"{name}-parts"), lambda *call: calls.append(call), retries,
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

    monkeypatch.setattr(base, "WORTH_SECONDS", 0)
    monkeypatch.setattr(local, "process_pool", noted)
    return pools


class DiesOnce(list):
    """Rows that kill the first process that they are sent to."""

    def __init__(self, rows, mark):
        super().__init__(rows)
        self.mark = mark

    def __reduce__(self):
        return die_once, (list(self), self.mark)


class Deadly:
    """Rows that kill every process that they are sent to."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)


def test_processes_write_what_one_writes_and_then_end(pack, started, monkeypatch):
    by_processes = pack("processes")
    assert len(started) == 1 and multiprocessing.active_children() == []
    assert pack("one", workers=1) == by_processes
    monkeypatch.undo()
    assert pack("little work") == by_processes and len(started) == 1


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
        build_shards(
            rows, {}, RATE, ShardsConfig(count=4), LocalWorkers(2), 1, tmp_path / "out", Parts(tmp_path / "parts")
        )
    assert not list((tmp_path / "out").iterdir())


def test_a_shard_whose_worker_dies_is_written_again(pack, started, monkeypatch, caplog):
    expected = pack("calm")
    killed = []

    def dies_once(path, rows, *others):
        if not killed:
            killed.append(path.name)
            return ShardJob(path, DiesOnce(rows, path.with_name("died")), *others)
        return ShardJob(path, rows, *others)

    monkeypatch.setattr(building, "ShardJob", dies_once)
    assert pack("stormy") == expected
    assert f"shard {killed[0]}: its process died" in caplog.text


def test_a_shard_that_kills_its_workers_is_named(pack, started, monkeypatch, tmp_path):
    monkeypatch.setattr(building, "ShardJob", lambda path, rows, *others: ShardJob(path, Deadly(rows), *others))
    with pytest.raises(WakewordError, match=r"shard 0000\d\.parquet: a worker died of it, also with nothing beside it"):
        pack("out")
    assert multiprocessing.active_children() == [] and not list((tmp_path / "out").iterdir())


def test_a_caller_that_has_had_enough_waits_for_no_shard(rows, recordings, started, tmp_path):
    def interrupted(what, done, total):
        raise KeyboardInterrupt

    config = ShardsConfig(count=4)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build_shards(
            rows,
            {"mine": recordings},
            RATE,
            config,
            LocalWorkers(2),
            1,
            tmp_path / "out",
            Parts(tmp_path / "parts"),
            interrupted,
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
