"""Scores of stretches equal those of windows that are cut and transformed one by one."""

import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.features.mel import front_end
from wakeword_core.mining.listening import StretchScorer
from wakeword_core.models.scoring import new_model

SMALL = {"arch": "tcn", "channels": 8, "dilations": [1, 2], "head_steps": 2, "kernel": 3}
QUIET = {"noise_probability": 0, "band_warp": 0, "colour_db": 0}
CASES = {
    "every step": ({}, SMALL),
    "every step of several": ({}, {**SMALL, "members": 2}),
    "a field wider than a window": ({}, {**SMALL, "dilations": [2, 4]}),
    "whole windows": ({}, {"arch": "tiny_conv", "channels": 4}),
    "decibels clamped by the window": ({"kind": "mel_db", "top_db": 10}, SMALL),
    "cepstra": ({"kind": "mfcc", "n_mfcc": 16}, SMALL),
    "microcontrollers": ({"kind": "micro", "n_mels": 40}, SMALL),
}


def config_of(name: str, device: str = "cpu") -> Config:
    frontend, model = CASES[name]
    context = 0 if frontend.get("kind") == "mel_db" else 60
    return Config.model_validate(
        {
            "features": {"frontend": {"n_mels": 16, "window_frames": 32, **frontend}, "context": {"frames": context}},
            "training": {"model": model, **({"augment": QUIET} if frontend else {})},
            "compute": {"device": device},
        }
    )


def model_of(config: Config) -> torch.nn.Module:
    """An untrained model whose scores differ from window to window."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = new_model(config)
    model.mean.fill_(3.0 if config.features.frontend.kind == "micro" else -8.0)
    model.set_calibrator("temperature", {"temperature": 0.5})
    return model.eval()


def check(name: str, device: str, tolerance: float) -> None:
    config = config_of(name)
    scorer = StretchScorer(model_of(config), config.features, 16_000, device)
    layout = scorer.layout
    generator = np.random.default_rng(1)
    levels = np.repeat(generator.uniform(10, 4_000, -(-layout.samples // 700)), 700)[: layout.samples]
    stretches = (generator.standard_normal((2, layout.samples)) * levels).clip(-32_768, 32_767).astype(np.int16)
    found = scorer(stretches)
    cuts = range(layout.lead_in, layout.samples - layout.window_samples + 1, layout.grid)
    assert found.shape == (2, len(cuts)) and found.dtype == np.float32
    windows = np.stack(
        [
            # from the beginning of the stretch, where what was before a window matters
            front_end(one[cut * (not layout.lead_in) : cut + layout.window_samples], config.features.frontend, 16_000)[
                :, -layout.window :
            ]
            for one in stretches
            for cut in cuts
        ]
    )
    with torch.inference_mode():
        expected = model_of(config)(torch.from_numpy(windows))[:, 1].reshape(2, -1).numpy()
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_windows_cut_one_by_one(name: str) -> None:
    check(name, "cpu", 2e-4)


def test_a_network_that_gives_every_step_is_run_once_over_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("every step")
    model = model_of(config)
    scorer = StretchScorer(model, config.features, 16_000, "cpu")
    assert scorer.layout.step == config.training.model.stride
    monkeypatch.setattr(model, "calibrated_logits", None)  # window by window would need it
    scorer(np.zeros((1, scorer.layout.samples), np.int16))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_gives_the_same(name: str) -> None:
    check(name, "cuda", 5e-3)
