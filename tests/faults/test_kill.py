"""A build killed in the middle of an early stage goes on, and ends with the bytes of one that was left alone."""

import os
import signal
import time
from pathlib import Path

import pytest

from wakeword_core.files import unfinished_parts

STAGES = ("raw_manifest", "audio_shards", "mel_features")


def children(pid: int) -> list[int]:
    """Ids of the processes that `pid` started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def gone(pids: list[int], seconds: float = 20.0) -> bool:
    """Whether all of them end within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "stage, pause, processes",
    [
        ("raw_manifest", "measure", False),
        ("audio_shards", "pack", True),
        pytest.param("mel_features", "features", False, marks=pytest.mark.slow),  # imports torch twice
    ],
)
def test_a_killed_stage_is_finished_to_the_same_bytes(trial, stage, pause, processes):
    expected = trial.build(stage, "undisturbed")
    before = STAGES[: STAGES.index(stage)]
    once = "" if stage == "raw_manifest" else f"store/{stage}.parts/*.json"
    with trial.start(*before, stage, pause=pause, once=once, processes=processes) as process:
        lines = iter(process.stdout.readline, "")
        assert "in the middle\n" in lines, process.stderr.read()
        workers = children(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert bool(workers) == processes and gone(workers)
    home = trial.folder / "home"
    assert not list(home.glob(f"store/{stage}/*/artifact.json"))
    kept = len(list(home.glob(f"store/{stage}.parts/*"))) // 2
    found = trial.build(stage)
    if stage != "raw_manifest":  # what was finished before is not made again
        assert kept >= 1 and found.figures["reused" if stage == "audio_shards" else "parts_reused"] == kept
    assert (found.key, found.content) == (expected.key, expected.content)
    assert found.damaged(read=True) == []
    for name in found.files.keys() - ({"train.h5"} if stage == "mel_features" else set()):
        assert found.file(name).read_bytes() == expected.file(name).read_bytes()
    assert unfinished_parts(home / "store" / stage) == [] and not list(home.glob(f"store/{stage}/.building-*"))


@pytest.mark.parametrize(
    "stage, pause",
    [("audio_shards", "pack"), pytest.param("mel_features", "features", marks=pytest.mark.slow)],
)
def test_a_later_build_that_is_killed_leaves_the_earlier_one_and_is_finished_as_a_fresh_one(trial, stage, pause):
    earlier = trial.build(stage)
    (trial.recordings / "yes" / "01.flac").unlink()
    for number in (40, 41):
        trial.record(number)
    with trial.start(*STAGES[: STAGES.index(stage) + 1], pause=pause) as process:
        assert "in the middle\n" in iter(process.stdout.readline, ""), process.stderr.read()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert trial.project().store.find(stage, earlier.key) == earlier and earlier.damaged(read=True) == []
    found, fresh = trial.build(stage), trial.build(stage, "fresh")
    assert (found.key, found.content) == (fresh.key, fresh.content) and found.damaged(read=True) == []
    assert found.figures["dead"] > 0 and unfinished_parts(trial.folder / "home" / "store") == []
