"""A disk that fills up in the middle of a shard, past the check before it."""

import os
import resource
import subprocess

import pytest

from wakeword_core.errors import DataError, WakewordError
from wakeword_core.files import unfinished_parts
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.shards import building
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import shard_paths
from wakeword_core.store.parts import Parts
from wakeword_core.workers import base
from wakeword_core.workers.local import LocalWorkers

FULL = r"shard 0000\d\.parquet cannot be (written|kept) .*free some space or choose another --home"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("only root can mount a small file system")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture
def pack(trial):
    """Pack the trial's recordings in a folder, its parts beside it; about 390 kB."""
    rows = read_manifest(trial.build("raw_manifest").path, split="train")
    roots = {source.name: source.path for source in trial.config.data.sources}

    def run(out):
        out.mkdir(exist_ok=True, parents=True)
        build_shards(rows, roots, 16_000, trial.config.shards, LocalWorkers(2), 0, out, Parts(out.parent / "parts"))
        return [path.read_bytes() for path in shard_paths(out)]

    return run


def test_a_full_disk_is_said_in_one_sentence_and_leaves_nothing_behind(pack, trial, small_disk, monkeypatch):
    with pytest.raises(WakewordError, match=r"packing recordings in shards needs about .*free some space"):
        pack(small_disk / "out")
    monkeypatch.setattr(building, "require_space", lambda *_: None)  # as if others filled the disk meanwhile
    with pytest.raises(DataError, match=FULL):
        pack(small_disk / "out")
    assert unfinished_parts(small_disk) == []
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert pack(small_disk / "out") == pack(trial.folder / "elsewhere" / "out")


@pytest.mark.parametrize("processes", [False, True])
def test_a_limit_on_file_sizes_is_as_good_as_a_full_disk(pack, tmp_path, monkeypatch, processes):
    expected = pack(tmp_path / "one" / "out")
    if processes:
        monkeypatch.setattr(base, "WORTH_SECONDS", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match=FULL):
            pack(tmp_path / "two" / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert unfinished_parts(tmp_path / "two") == []
    assert pack(tmp_path / "two" / "out") == expected
