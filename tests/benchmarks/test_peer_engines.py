"""What is compared, and what it costs."""

import numpy as np
import pytest
from peer_engines import cpu_costs, engines

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.listeners.listener import Listener


class TestRefusals:
    def test_a_model_of_other_words(self, write_model, tmp_path):
        path = write_model(tmp_path / "m.onnx", labels=("_negative", "alexa", "computer"))
        with pytest.raises(DataError, match="computer"):
            engines(path, Config(phrase="alexa"))

    def test_another_sample_rate(self, write_model, tmp_path):
        config = Config.model_validate({"phrase": "alexa", "data": {"audio": {"sample_rate": 22_050}}})
        with pytest.raises(ConfigError, match="22050"):
            engines(write_model(tmp_path / "m.onnx", rate=22_050), config)


def test_cost_is_per_second_and_tells_the_dear_from_the_cheap(make_noise):
    turns = []

    class Noted(Listener):
        def __init__(self, name, work):
            self.name, self._work = name, work

        def reset(self):
            turns.append(self.name)

        def push(self, pcm):
            for _ in range(self._work):
                np.sin(pcm.astype(np.float64))
            return np.empty(0), np.empty(0)

    engines = [Noted("a", 10), Noted("b", 10), Noted("dear", 200)]
    costs = cpu_costs(engines, make_noise(3.0), rounds=3)
    assert turns == ["a", "b", "dear"] * 4
    assert costs["dear"] > 5 * costs["a"] > 0
    longer = cpu_costs(engines[2:], make_noise(6.0), rounds=3)
    assert longer["dear"] == pytest.approx(costs["dear"], rel=0.7)
    with pytest.raises(DataError, match="one second"):
        cpu_costs(engines, make_noise(0.9), rounds=1)
