"""Rows wait in memory or on disk: which it is does not show in the weights, and from disk few are in memory."""

import logging
import operator
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sweeps_to_train import (
    CMVN,
    CONTEXT,
    LONG,
    TAUGHT,
    TINY_TCN,
    TRAIN,
    VAL,
    KilledError,
    config_for,
    history,
    oracle,
    same_weights,
    untimed,
)

from wakeword_core.config import TcnConfig
from wakeword_core.config.compute import ComputeConfig
from wakeword_core.cores import machine_memory
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.gathering import AHEAD, RowsOnDisk, gathered, joined
from wakeword_core.features.store import (
    COLUMNS,
    MEL,
    PARTS_FOLDER,
    WindowSet,
    open_features,
    open_windows,
    write_part,
    write_split,
)
from wakeword_core.training.feed import within_memory
from wakeword_core.training.loop import train
from wakeword_core.training.processes import load_job, save_job
from wakeword_core.training.records import EpochRecord
from wakeword_core.training.run import Job

PARTS = 3
DEAD = 7
"""Rows of the parts that do not count."""


def stored(windows: WindowSet, folder: Path) -> WindowSet:
    """The same windows on disk: scattered over parts, out of order, among rows that do not count."""
    rows = len(windows) + DEAD
    places = np.random.default_rng(3).permutation(rows)
    mel = np.full((rows, *windows.mel.shape[1:]), 9, np.float16)
    mel[places[: len(windows)]] = windows.mel.numpy()
    described = {"labels_json": "[]", "config_json": "{}"}
    paths = [folder / PARTS_FOLDER / f"{number}.h5" for number in range(PARTS)]
    for path, block in zip(paths, np.array_split(mel, PARTS), strict=True):
        columns = {name: np.zeros(len(block), dtype) for name, dtype in COLUMNS.items()}
        write_part(path, len(block), [block], columns, described)
    write_split(folder / "train.h5", paths, described, places[: len(windows)])
    return replace(windows, mel=open_windows(folder).mel)


@pytest.fixture(scope="module")
def train_on_disk(tmp_path_factory: pytest.TempPathFactory) -> WindowSet:
    return stored(LONG, tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def val_on_disk(tmp_path_factory: pytest.TempPathFactory) -> WindowSet:
    return stored(VAL, tmp_path_factory.mktemp("val"))


@pytest.mark.parametrize(("kind", "taught"), [("balanced", False), ("difficulty", False), ("difficulty", True)])
def test_a_training_from_disk_ends_with_the_same_weights_also_when_it_goes_on(
    kind: str, taught: bool, train_on_disk: WindowSet, val_on_disk: WindowSet, tmp_path: Path
) -> None:
    """With noise, masks, moves, mixup, dropout and rows that come again; stopped from disk, it goes on in memory.

    What teachers say goes with the rows, but where these are moved.
    """
    teacher = oracle(LONG) if taught else None
    config = config_for(
        TcnConfig(**TINY_TCN, dropout=0.3),
        CONTEXT,
        compute={"rows": "disk"},
        schedule={"epochs": 2},
        sampling={"kind": kind, "steps_per_epoch": 5},
        augment={
            **config_for().training.augment.model_dump(),
            "mixup_alpha": 0.4,
            "shift_frames": 0 if taught else 3,
        },
        teacher=TAUGHT if taught else {},
    )

    def kill(record: EpochRecord) -> None:
        raise KilledError

    memory, disk, both = (tmp_path / name for name in ("memory", "disk", "both"))
    train(LONG, VAL, CMVN, config, memory, teacher=teacher)
    train(train_on_disk, val_on_disk, CMVN, config, disk, teacher=teacher)
    with pytest.raises(KilledError):
        train(train_on_disk, val_on_disk, CMVN, config, both, on_epoch=kill, teacher=teacher)
    train(train_on_disk, val_on_disk, CMVN, config.changed({"compute.rows": "memory"}), both, teacher=teacher)
    assert same_weights(memory, disk) and same_weights(memory, both)
    assert untimed(history(memory)) == untimed(history(disk)) == untimed(history(both))


@settings(max_examples=30, deadline=None)
@given(wanted=st.lists(st.lists(st.integers(0, len(LONG) - 1), max_size=30), max_size=12))
def test_any_rows_are_read_as_a_tensor_gives_them_and_few_ahead(
    train_on_disk: WindowSet, wanted: list[list[int]]
) -> None:
    batches = [torch.tensor(rows, dtype=torch.int64) for rows in wanted]
    left = iter(batches)
    found = gathered(train_on_disk.mel, left, "cpu")
    for number, (rows, mel) in enumerate(zip(batches, found, strict=True), 1):
        assert torch.equal(mel, LONG.mel[rows])
        assert number + AHEAD >= len(batches) - operator.length_hint(left)


def test_rows_on_disk_are_joined_on_disk(train_on_disk: WindowSet, val_on_disk: WindowSet, tmp_path: Path) -> None:
    more = stored(LONG, tmp_path)
    both = train_on_disk.joined(more)
    assert isinstance(both.mel, RowsOnDisk)
    assert torch.equal(both.in_memory().mel, torch.cat([LONG.mel, LONG.mel]))
    assert torch.equal(joined(train_on_disk.mel, LONG.mel), both.in_memory().mel)
    with pytest.raises(DataError, match="cannot be joined"):
        train_on_disk.joined(val_on_disk)


@pytest.mark.parametrize(
    ("rows", "share", "processes", "on_disk"),
    [
        ("auto", 1.0, 1, False),
        ("auto", 0.99, 1, True),
        ("auto", 1.5, 2, True),
        ("auto", None, 2, False),
        ("memory", 0.1, 1, False),
        ("disk", 10.0, 1, True),
    ],
)
def test_rows_stay_on_disk_where_it_is_set_or_memory_is_too_small(
    rows: Any, share: float | None, processes: int, on_disk: bool,
    train_on_disk: WindowSet, val_on_disk: WindowSet, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Memory for a share of both splits; by itself, half of the machine's."""
    needed = LONG.mel.nbytes + VAL.mel.nbytes
    compute = ComputeConfig(rows=rows, memory_gb=0 if share is None else share * needed / 1e9)
    with caplog.at_level(logging.INFO):
        found = within_memory([train_on_disk, val_on_disk], compute, processes)
    assert [isinstance(one.mel, RowsOnDisk) for one in found] == [on_disk] * 2
    assert ("each batch is read from disk" in caplog.text) == (on_disk and rows == "auto")
    if not on_disk:
        assert torch.equal(found[0].mel, LONG.mel) and torch.equal(found[1].mel, VAL.mel)


def test_a_container_may_have_less_memory_than_its_machine(tmp_path: Path) -> None:
    for name, text in {"none": "max\n", "huge": str(2**80), "small": "1000\n"}.items():
        (tmp_path / name).write_text(text)
    whole = machine_memory([])
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine_memory([tmp_path / name for name in ("none", "huge", "missing")]) == whole
    assert machine_memory([tmp_path / "none", tmp_path / "small"]) == 1_000


class TooLarge(torch.Tensor):
    """Rows that do not fit the memory of a device."""

    def to(self, *_: Any, **__: Any) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_rows_that_the_gpu_does_not_hold_stay_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_for(schedule={"epochs": 1})
    train(TRAIN, VAL, CMVN, config, tmp_path / "whole")
    caplog.clear()
    train(replace(TRAIN, mel=TRAIN.mel.as_subclass(TooLarge)), VAL, CMVN, config, tmp_path / "copied")
    (said,) = [record.message for record in caplog.records if "GPU" in record.message]
    assert "the GPU's memory does not hold the 0.0 GB of rows: they stay in this machine's memory" in said
    assert same_weights(tmp_path / "whole", tmp_path / "copied")


def test_processes_are_told_where_the_rows_are(train_on_disk: WindowSet, tmp_path: Path) -> None:
    save_job(Job(train_on_disk, VAL, CMVN, config_for()), tmp_path)
    job = load_job(tmp_path)
    assert isinstance(job.train.mel, RowsOnDisk) and torch.equal(job.val.mel, VAL.mel)
    assert torch.equal(job.train.in_memory().mel, LONG.mel) and torch.equal(job.train.labels, LONG.labels)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < LONG.mel.nbytes + VAL.mel.nbytes


@pytest.mark.parametrize(("damage", "said"), [("cut", "ends too early"), ("not a number", "are not finite")])
def test_damaged_parts_are_a_sentence(damage: str, said: str, tmp_path: Path) -> None:
    windows = stored(LONG, tmp_path)
    part = tmp_path / PARTS_FOLDER / "1.h5"
    with open_features(part) as file:
        begin, size = file[MEL].id.get_offset(), file[MEL].nbytes
    with part.open("r+b") as bytes_of_part:
        if damage == "cut":
            bytes_of_part.truncate(begin + size // 2)
        else:
            bytes_of_part.seek(begin)
            bytes_of_part.write(np.full(size // 2, np.nan, np.float16).tobytes())
    config = config_for(None, CONTEXT, compute={"rows": "disk"})
    with pytest.raises(ArtifactError, match=rf"1\.h5 .*{said}; delete it, and it is built again"):
        train(windows, VAL, CMVN, config, tmp_path / "out")
