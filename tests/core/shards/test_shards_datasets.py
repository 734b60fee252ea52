"""Shards as Hugging Face `datasets` reads them: by its documented schema, and by the library where it is installed."""

import hashlib
import importlib.util

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest
import soundfile

from wakeword_core.audio import decode_wav
from wakeword_core.config import ShardsConfig
from wakeword_core.shards.building import build_shards
from wakeword_core.shards.packed_split import INDEX, iter_recordings, shard_paths
from wakeword_core.store.parts import Parts
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000


@pytest.fixture
def shards(tmp_path):
    sounds, out = tmp_path / "sounds", tmp_path / "out"
    sounds.mkdir()
    out.mkdir()
    rows = []
    for index in range(12):
        path = sounds / f"{index}.flac"
        soundfile.write(path, np.random.default_rng(index).normal(0, 0.1, 1_600 + 160 * index), RATE)
        facts = {
            "label": "ñandú" if index % 2 else "robin",
            "role": "positive",
            "speaker": f"s{index}",
            "split": "train",
        }
        span = {"speech_start": 0.01, "speech_end": np.nan if index % 3 else 0.1}
        one = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(
            {"recording_id": one, "path": path.name, "source": "mine", "seconds": 0.1 + 0.01 * index, **facts, **span}
        )
    config, parts = ShardsConfig(count=3, compact_above=1.0), Parts(tmp_path / "parts")
    build_shards(pd.DataFrame(rows), {"mine": sounds}, RATE, config, LocalWorkers(1), 1, out, parts)
    rows[3]["label"] = "wren"
    (tmp_path / "later").mkdir()
    build_shards(pd.DataFrame(rows[2:]), {"mine": sounds}, RATE, config, LocalWorkers(1), 1, tmp_path / "later", parts)
    return out


def test_dead_rows_are_those_that_the_index_does_not_name(shards, tmp_path):
    later = tmp_path / "later"
    rows = pd.concat([pd.read_parquet(path) for path in shard_paths(later)])
    index = pd.read_parquet(later / INDEX)
    counting = rows.merge(index, on=["recording_id", "digest"])
    assert len(rows) == 13 and len(counting) == 10
    expected = {one.recording_id: one.label for one in iter_recordings(later)}
    assert dict(zip(counting["recording_id"], counting["label"], strict=True)) == expected
    assert "wren" in expected.values()
    whole = pa.dataset.dataset([str(path) for path in shard_paths(later)])
    table = whole.to_table(["recording_id", "label"], filter=pc.field("digest").isin(pa.array(index["digest"])))
    assert sorted(table.to_pylist(), key=str) == sorted(
        ({"recording_id": one, "label": label} for one, label in expected.items()), key=str
    )


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The library, offline, with its caches in the test's folder."""
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    return pytest.importorskip("datasets")


@pytest.mark.parametrize("streaming", [False, True])
def test_the_library_reads_them_as_audio(shards, datasets, tmp_path, streaming):
    files = [str(path) for path in shard_paths(shards)]
    found = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"), streaming=streaming
    )
    assert found.features["audio"] == datasets.Audio(sampling_rate=RATE)
    assert found.features["label"] == datasets.Value("string")
    expected = list(iter_recordings(shards))
    read = list(found.cast_column("audio", datasets.Audio(sampling_rate=RATE, decode=False)))
    assert [row["recording_id"] for row in read] == [one.recording_id for one in expected] and len(read) == 12
    for row, one in zip(read, expected, strict=True):
        pcm, rate = decode_wav(row["audio"]["bytes"])
        assert rate == RATE and np.array_equal(pcm, one.audio) and row["audio"]["path"] == f"{one.recording_id}.wav"
        assert (row["label"], row["speaker"], row["seconds"]) == (one.label, one.speaker, one.seconds)
        assert row["speech_end"] == one.speech_end or np.isnan(row["speech_end"]) == np.isnan(one.speech_end)


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is None, reason="datasets decodes audio with torchcodec")
def test_the_library_decodes_them(shards, datasets, tmp_path):
    files = [str(path) for path in shard_paths(shards)]
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    for row, one in zip(found, iter_recordings(shards), strict=True):
        samples = row["audio"].get_all_samples()
        assert samples.sample_rate == RATE
        assert np.array_equal(np.rint(samples.data[0].numpy() * 32_768).astype(np.int16), one.audio)
