"""The picture of a split's rows is a PNG that shows what it is given."""

import io
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from wakeword_core.config import Config, FrontendConfig
from wakeword_core.features.build import build_features
from wakeword_core.features.picture import mel_grid, sample_mels
from wakeword_core.store.parts import Parts

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_picture_shows_the_windows_it_is_given() -> None:
    random = np.random.default_rng(0).normal(size=(1, 8, 30))
    one, others = mel_grid(random, ["a"], 0.01), mel_grid(np.zeros((5, 8, 30)), list("abcde"), 0.01)
    assert one.startswith(PNG) and others.startswith(PNG) and one != others
    assert one == mel_grid(random, ["a"], 0.01)


def test_the_picture_names_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    labels = []
    set_label = Axes.set_ylabel
    monkeypatch.setattr(Axes, "set_ylabel", lambda axes, text, **more: labels.append(text) or set_label(axes, text))
    for kind in get_args(FrontendConfig.model_fields["kind"].annotation):
        mel_grid(np.zeros((1, 8, 30)), ["a"], 0.01, kind)
    assert {"log power (nats)", "power (dB)", "cepstral coefficient"} <= set(labels)


def test_what_rises_evenly_is_drawn_without_bands() -> None:
    ramp = np.tile(np.linspace(0, 1, 300), (1, 8, 1))
    picture = Image.open(io.BytesIO(mel_grid(ramp, ["a"], 0.01))).convert("RGB")
    across = np.asarray(picture)[picture.height // 2].astype(int)
    assert len(np.unique(across, axis=0)) > 120 and (across == 255).all(axis=1).any()  # white beside it


def test_each_window_needs_a_title() -> None:
    with pytest.raises(ValueError, match="title"):
        mel_grid(np.zeros((2, 8, 30)), ["a"], 0.01)


@pytest.mark.parametrize("roles", [{"positive": 1.0, "negative": 4.0}, {"negative": 4.0}])
def test_rows_of_a_split_are_drawn_whatever_labels_it_holds(roles, make_shards, config: Config, tmp_path: Path) -> None:
    shards, out = make_shards(seconds_of=roles), tmp_path / "features"
    build_features(shards, "val", config, "cpu", out, Parts(tmp_path / "parts"))
    assert sample_mels(out, config.features.frontend, config.data.audio.sample_rate).startswith(PNG)
