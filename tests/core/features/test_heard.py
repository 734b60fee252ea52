"""The page of augmented rows has the sound that their features were computed from."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wakeword_core.config import Config
from wakeword_core.features.build import build_features
from wakeword_core.features.frontend import row_front_end
from wakeword_core.features.heard import PAGE
from wakeword_core.features.store import FeatureFile


@pytest.mark.parametrize("kind", ["log_mel", "micro"])
def test_what_is_heard_is_what_was_computed(kind: str, make_shards, tmp_path: Path, parts) -> None:
    augment = {"views": 3, "tempo_probability": 1, "gain_db": (-9, -9)}
    config = Config.model_validate({"features": {"frontend": {"kind": kind}, "augment": augment}})
    build_features(make_shards(), "train", config, "cpu", tmp_path / "out", parts)
    page = (tmp_path / "out" / PAGE).read_text(encoding="utf-8")
    sounds = [soundfile.read(io.BytesIO(base64.b64decode(one)))[0] for one in re.findall(r"flac;base64,([^\"]+)", page)]
    assert len(sounds) == 6 and page.count("<td>hey robin<") == 3 and page.count("gain -9 dB") == 6
    assert len(set(re.findall(r"tempo [0-9.]+, pitch", page))) > 3
    if kind == "micro":  # which also hears what lies before the row
        return
    file = FeatureFile(tmp_path / "out")
    stored = file.rows(range(len(file)))
    front_end = row_front_end(config.features.frontend, 16_000)
    for sound in sounds:
        again = front_end(torch.from_numpy(sound).float()[None])[0].numpy()
        assert (
            np.abs(stored - again).mean(axis=(1, 2)).min() < 0.1
        )  # by rounding to 16 bits; other rows differ by 4 and more


def test_where_nothing_is_augmented_there_is_no_page(make_shards, config: Config, tmp_path: Path, parts) -> None:
    build_features(make_shards(), "val", config, "cpu", tmp_path / "val", parts)
    clean = config.changed({"features.augment.views": 1, "features.augment.negative_views": 1})
    build_features(make_shards(), "train", clean, "cpu", tmp_path / "clean", parts)
    assert not (tmp_path / "val" / PAGE).exists() and not (tmp_path / "clean" / PAGE).exists()
