"""The builder's pipeline: the same bytes however it runs, bounded, and whole when stopped or out of memory."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features import parts, pipeline
from wakeword_core.features.build import build_features
from wakeword_core.features.cuda import FittingBatch
from wakeword_core.features.pipeline import CpuBlocks, Timings, block_rows
from wakeword_core.features.rows import Decoded, RowComputer, join_recordings
from wakeword_core.interrupts import Stopped
from wakeword_core.store.parts import Parts


def with_compute(config: Config, **changes: object) -> Config:
    return config.changed({f"compute.{name}": value for name, value in changes.items()})


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("parts/*.h5"))}


def test_threads_and_batches_give_the_same_bytes(make_shards, config: Config, tmp_path) -> None:
    shards, found = make_shards(each=4, count=3), []
    for workers, batch in ((1, 32), (3, 4), (2, 7)):  # blocks of all rows, and of as many as a batch
        out = tmp_path / f"{workers}"
        out.mkdir()
        settings = with_compute(config, workers=workers, batch_windows=batch)
        summary = build_features(shards, "train", settings, "cpu", out, Parts(tmp_path / f"{workers}-parts"))
        assert summary.parts_built == 3
        assert sorted(path.name for path in out.iterdir()) == ["heard.html", "parts", "train.h5"]
        found.append(hashes(out))
    assert len(found[0]) == 3 and found[0] == found[1] == found[2]


def test_the_summary_says_where_the_time_went(make_shards, config: Config, tmp_path) -> None:
    parts = Parts(tmp_path / "parts")
    first = build_features(make_shards(), "val", config, "cpu", tmp_path / "a", parts)
    names = [stage["stage"] for stage in first.timings["stages"]]
    assert names == ["read", "prepare", "compute", "copy", "write"] and first.timings["bottleneck"] in names
    assert all((stage["seconds"] > 0) == (stage["stage"] != "copy") for stage in first.timings["stages"])
    for stage in first.timings["stages"]:
        assert stage["seconds"] <= stage["threads"] * first.timings["wall_seconds"] + 0.01
    assert first.rows_per_second > 0 and first.timings["peak_rss_mb"] > 50
    again = build_features(make_shards(), "val", config, "cpu", tmp_path / "b", Parts(tmp_path / "parts"))
    assert again.parts_built == 0 and again.rows_per_second == 0
    assert (again.rows, again.recordings, again.rows_by_label) == (first.rows, first.recordings, first.rows_by_label)


def test_exhausted_memory_halves_the_batch_and_goes_on() -> None:
    asked = []

    def compute(rows: np.ndarray) -> torch.Tensor:
        asked.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.from_numpy(rows)

    batch = FittingBatch(16)
    pieces = list(batch.pieces(np.arange(20), compute))
    assert torch.cat([found for _, found in pieces]).tolist() == list(range(20))
    assert asked[:4] == [16, 8, 4, 2] and set(asked[4:]) == {2} and batch.size == 2

    freed = []

    def in_a_library(rows: np.ndarray) -> torch.Tensor:
        if len(rows) > 5:
            raise RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR")
        return torch.from_numpy(rows)

    assert len(list(FittingBatch(16, lambda: freed.append(1)).pieces(np.arange(8), in_a_library))) == 2 and freed == [1]

    def broken(rows: np.ndarray) -> torch.Tensor:
        raise RuntimeError("an error of another kind")

    with pytest.raises(RuntimeError, match="another kind"):
        list(FittingBatch(16).pieces(np.arange(8), broken))

    def never(rows: np.ndarray) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(DataError, match="single row"):
        list(FittingBatch(4).pieces(np.arange(4), never))


def test_blocks_are_a_share_of_the_rows_in_whole_batches() -> None:
    assert block_rows(rows=1_000, threads=2, row_bytes=1_000, batch=64, most_bytes=1_000_000) == 448
    assert block_rows(rows=100_000, threads=2, row_bytes=1_000, batch=64, most_bytes=1_000_000) == 1_000
    assert block_rows(rows=10, threads=4, row_bytes=1_000, batch=64, most_bytes=1_000_000) == 64
    assert block_rows(rows=0, threads=4, row_bytes=1_000, batch=64, most_bytes=1) == 1


def test_shards_that_are_held_do_not_grow_with_threads(make_shards, config: Config, tmp_path, monkeypatch) -> None:
    alive, most = 0, 0

    def counted(*given: object) -> Decoded:
        nonlocal alive, most
        decoded = join_recordings(*given)
        alive += 1
        most = max(most, alive)
        weakref.finalize(decoded.sound, gone)
        return decoded

    def gone() -> None:
        nonlocal alive
        alive -= 1

    monkeypatch.setattr(pipeline, "join_recordings", counted)
    settings = with_compute(config, workers=16)
    build_features(make_shards(count=12), "val", settings, "cpu", tmp_path / "f", Parts(tmp_path / "parts"))
    assert alive == 0 and 2 <= most <= 5


@pytest.mark.parametrize("across_parts", [False, True])
def test_a_damaged_shard_costs_no_part_before_it(
    across_parts, make_shards, config: Config, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(CpuBlocks, "across_parts", across_parts)  # True is how a GPU works
    shards = make_shards(count=3)
    damaged = shards / "00002.parquet"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 255
    damaged.write_bytes(data)
    with pytest.raises(ArtifactError, match="00002"):
        build_features(shards, "val", with_compute(config, workers=4), "cpu", tmp_path / "f", Parts(tmp_path / "parts"))
    assert len([path for path in (tmp_path / "parts").iterdir() if path.suffix != ".json"]) == 2


@pytest.mark.parametrize("hop", [1.0, 5.0])
def test_rows_may_lie_wholly_beside_a_short_recording(hop: float, make_shards, tmp_path) -> None:
    """The first recordings of a shard are shorter than the jitter of their views: what is not sound is silence."""
    shards = make_shards(seconds_of={"negative": 0.25, "noise": 0.2, "positive": 0.9})
    for seed in range(6):
        features = {
            "augment": {"views": 4, "negative_views": 6},
            "rows": {"negative_hop_seconds": hop},
            "context": {"frames": 0} if hop > 1 else {},
        }
        config = Config.model_validate({"seed": seed, "features": features})
        summary = build_features(shards, "train", config, "cpu", tmp_path / f"{seed}", Parts(tmp_path / f"p{seed}"))
        assert summary.rows > 0


def test_a_default_sigterm_leaves_nothing_half_written(make_shards, tmp_path) -> None:
    make_shards(count=4)
    script = """
import os, signal, sys
from pathlib import Path
from wakeword_core.store.parts import Parts
from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.features import parts
from wakeword_core.features.build import build_features
write = parts.write_part
def terminated(*given):
    os.kill(os.getpid(), signal.SIGTERM)
    write(*given)
parts.write_part = terminated
root = Path(sys.argv[1])
(root / "out").mkdir()
build_features(root / "shards", "val", Config(), "cpu", root / "out", Parts(root / "parts"))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["parts"]


def test_threads_of_others_keep_theirs(make_shards, config: Config, tmp_path) -> None:
    found = []
    with torch_threads(3):
        build_features(make_shards(), "val", config, "cpu", tmp_path / "f", Parts(tmp_path / "parts"))
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert found == [3] and torch.get_num_threads() == 3


def test_inside_of_a_block_nothing_is_parallel(make_shards, config: Config, tmp_path, monkeypatch) -> None:
    found, compute = set(), RowComputer.compute
    monkeypatch.setattr(RowComputer, "compute", lambda *given: found.add(torch.get_num_threads()) or compute(*given))
    with torch_threads(3):
        build_features(make_shards(), "val", config, "cpu", tmp_path / "f", Parts(tmp_path / "parts"))
    assert found == {1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_part_and_keeps_what_is_done(number, make_shards, config, tmp_path, monkeypatch) -> None:
    """The signal comes while the first part is written: that part is kept, and a second build makes only the rest."""
    write, written = parts.write_part, []

    def interrupted(path: Path, *rest: object) -> None:
        if not written:
            os.kill(os.getpid(), number)
        write(path, *rest)
        written.append(path.name)

    def stop(*_: object) -> None:
        raise InterruptedError("stopped")

    before = signal.signal(number, stop)
    try:
        monkeypatch.setattr(parts, "write_part", interrupted)
        with pytest.raises(InterruptedError):
            build_features(make_shards(count=4), "train", config, "cpu", tmp_path / "a", Parts(tmp_path / "parts"))
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert written == ["00000.h5"]
    summary = build_features(make_shards(count=4), "train", config, "cpu", tmp_path / "b", Parts(tmp_path / "parts"))
    assert (summary.parts_built, summary.parts_reused) == (3, 1)


def test_a_build_that_a_signal_ends_says_so_where_its_handler_does_not(make_shards, config, tmp_path) -> None:
    def request_stop(what: str, done: int, total: int) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    parts = Parts(tmp_path / "parts")
    try:
        with pytest.raises(Stopped):
            build_features(make_shards(count=4), "val", config, "cpu", tmp_path / "a", parts, request_stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(list((tmp_path / "a" / "parts").iterdir())) == 1


def test_timings_count_all_threads_together() -> None:
    timings = Timings({"read": 2, "write": 1})
    read = timings.timed("read", lambda item: time.sleep(0.01) or item)
    for item in timings.consumed("write", [read(1), read(2)]):
        time.sleep(0.02 * item)
    timings.ready(3)
    timings.ready(0)
    figures = timings.figures()
    reading, writing = figures["stages"]
    assert reading["seconds"] >= 0.02 and 0.06 <= writing["seconds"] <= figures["wall_seconds"]
    assert figures["bottleneck"] == "write" and figures["blocks_ready"] == 1.5


def test_an_error_counts_as_work_too() -> None:
    timings = Timings({"read": 1})

    def broken() -> None:
        time.sleep(0.01)
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        timings.timed("read", broken)()
    assert timings.figures()["stages"][0]["seconds"] >= 0.01
