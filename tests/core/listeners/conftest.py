"""One listener of each kind, and sound for them."""

import numpy as np
import pytest
from loud_model import RATE, save_model

from wakeword_core.config import DetectorConfig
from wakeword_core.listeners.listener import OwnModel
from wakeword_core.listeners.peers import MicroWakeWord, OpenWakeWord
from wakeword_core.runtime import WakewordModel

WITHOUT = "needs the bench extra: pip install -e '.[bench]'"
RULES = DetectorConfig(lockout_seconds=0.3, votes=2, smoothing=3, hold=2)


@pytest.fixture(scope="session")
def make_noise():
    """White noise int16 [samples] of some seconds, seed and level."""

    def noise(seconds, seed=0, level=300.0):
        return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.int16)

    return noise


@pytest.fixture(scope="session")
def rules():
    """The detector of the small model."""
    return RULES


@pytest.fixture(scope="session")
def adapters(tmp_path_factory):
    """Every kind of listener by name, ours with a small model."""
    pytest.importorskip("pymicro_wakeword", reason=WITHOUT)
    pytest.importorskip("pyopen_wakeword", reason=WITHOUT)
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, bias=0.0, labels=("_negative", "alexa"), votes=2, smoothing=3, hold=2)
    model = WakewordModel(folder)
    everybody = [OwnModel(model, [model.path]), MicroWakeWord("alexa", RULES), OpenWakeWord("alexa", RULES)]
    return {one.name: one for one in everybody}
