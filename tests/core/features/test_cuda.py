"""On a GPU: the numbers of a CPU, whatever the batches."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.features import cuda
from wakeword_core.features.build import build_features
from wakeword_core.features.store import FeatureFile
from wakeword_core.store.parts import Parts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def features_of(shards: Path, split, config: Config, device: str, out: Path) -> np.ndarray:
    build_features(shards, split, config, device, out, Parts(out / "kept"))
    file = FeatureFile(out)
    return file.rows(range(len(file)))


@pytest.mark.parametrize("block_bytes", [1, 1 << 20])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["log_mel", "mel_db", "mfcc"])
def test_a_gpu_agrees_with_a_cpu(block_bytes, split, kind, make_shards, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cuda, "BLOCK_BYTES", block_bytes)  # blocks of a row, or of all rows
    config = Config.model_validate({"features": {"frontend": {"kind": kind}}, "compute": {"gpu_batch_windows": 7}})
    shards = make_shards(each=4, count=3)
    cpu, gpu = (features_of(shards, split, config, device, tmp_path / device) for device in ("cpu", "cuda"))
    assert np.abs(cpu - gpu).max() <= 0.02 * max(1.0, np.abs(cpu).max() / 16)


def test_a_gpu_hears_the_devices_that_a_cpu_does(make_shards, tmp_path: Path) -> None:
    config = Config.model_validate({"features": {"augment": {"device_probability": 1}}})
    shards = make_shards(each=4, count=3)
    cpu, gpu = (features_of(shards, "train", config, device, tmp_path / device) for device in ("cpu", "cuda"))
    error = np.abs(cpu.astype(np.float32) - gpu)
    # where a sample is between two steps of a telephone, the last bit decides
    assert np.quantile(error, 0.999) <= 0.02 and error.max() < 0.5


def test_rows_of_an_older_part_are_kept_on_a_gpu(make_shards, config: Config, tmp_path: Path) -> None:
    first, more = make_shards("one", each=3, count=2), make_shards("two", each=4, count=2)
    build_features(first, "train", config, "cuda", tmp_path / "f1", Parts(tmp_path / "parts"))
    again = build_features(more, "train", config, "cuda", tmp_path / "f2", Parts(tmp_path / "parts"))
    assert 0 < again.rows_computed < again.rows
    fresh = features_of(more, "train", config, "cuda", tmp_path / "f3")
    file = FeatureFile(tmp_path / "f2")
    assert np.abs(file.rows(range(len(file))) - fresh).max() < 0.02


def test_a_damaged_shard_costs_no_part_before_it_on_a_gpu(make_shards, config: Config, tmp_path: Path) -> None:
    shards, parts = make_shards(count=3), Parts(tmp_path / "parts")
    data = bytearray((shards / "00002.parquet").read_bytes())
    data[len(data) // 2] ^= 255
    (shards / "00002.parquet").write_bytes(data)
    with pytest.raises(ArtifactError, match="00002"):
        build_features(shards, "train", config, "cuda", tmp_path / "f", parts)
    assert len([path for path in parts.root.iterdir() if path.suffix != ".json"]) == 2


def test_a_full_gpu_gets_smaller_batches(make_shards, config: Config, tmp_path: Path, monkeypatch, caplog) -> None:
    shards, compute = make_shards(each=4), cuda.RowComputer.compute

    def limited(computer, shard_rows, rows):
        if len(rows) > 3:
            raise torch.OutOfMemoryError("pretended")
        return compute(computer, shard_rows, rows)

    whole = features_of(shards, "train", config, "cuda", tmp_path / "whole")
    monkeypatch.setattr(cuda.RowComputer, "compute", limited)
    with caplog.at_level(logging.WARNING):
        halved = features_of(shards, "train", config, "cuda", tmp_path / "halved")
    assert "memory is exhausted" in caplog.text
    assert np.abs(whole - halved).max() < 0.02
