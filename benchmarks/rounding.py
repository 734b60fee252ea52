"""What rounding to 8-bit integers costs a network, and what training it for its rounding wins back.

    python benchmarks/rounding.py
    python benchmarks/rounding.py --model trained_model/KEY --train mel_features/KEY --on mel_features/KEY

The first form trains a small `mixednet` on sweeps in noise, in features as of a microcontroller, once for each seed:
plainly; as long, with its last epochs rounded; and further, with and without rounding, from a network one channel of
which is 256 times as large as those that share its steps, which changes nothing in floats. The second form measures a
trained model, in a store, on features of validation or of the test; those of `--train` set the ranges. Each row gives
cross-entropy and share of errors in floats, rounded by the ranges after training, and as in training. The last line is
one JSON object.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from wakeword_core.config import ROLES, Config
from wakeword_core.export.tflite.fake_quantize import rounded_odds, trained_rounding
from wakeword_core.export.tflite.network import folded, network_of
from wakeword_core.export.tflite.quantize import measured
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.features.store import WindowSet, open_windows
from wakeword_core.models.layers import StreamingBackbone
from wakeword_core.models.scoring import ScoringModel, load_model
from wakeword_core.training.loop import train

BANDS, FRAMES = 40, 48
LARGER = 256.0
ROUNDED, EPOCHS = 3, 8
"""Epochs that are rounded, and all of them; of a training that goes on, all are."""
_BATCH = 256
_RANGES = 512

Figures = dict[str, tuple[float, float]]
"""Cross-entropy and share of errors, by the way of rounding."""


def main() -> int:
    """Run the benchmark."""
    given = _arguments()
    found = _measure_trained(given) if given.model else [row for seed in given.seeds for row in _learn(seed)]
    print(json.dumps({"rows": found}))
    return 0


def figures(model: ScoringModel, train_set: WindowSet, windows: WindowSet) -> Figures:
    """Measure a model on windows, in floats and by each way of rounding that it has."""
    chosen = torch.linspace(0, len(train_set) - 1, min(_RANGES, len(train_set)), dtype=torch.float64).long()
    rows = train_set.mel[chosen].float().transpose(1, 2).numpy()
    ways = {"afterwards": measured(network_of(model), np.array_split(rows, 16)), "trained": trained_rounding(model)}
    names = ["float", *(way for way, rounding in ways.items() if rounding is not None)]
    network, backbone = folded(model), cast(StreamingBackbone, model.backbone)
    odds: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    with torch.no_grad():
        for places in torch.arange(len(windows)).split(_BATCH):
            mel = windows.mel[places].float()
            logits = model.logits(mel)
            odds["float"].append(logits[:, 1] - logits[:, 0])
            frames = backbone.aligned(mel[:, :, -backbone.receptive_field_frames :])
            for way, rounding in ways.items():
                if rounding is not None:
                    odds[way].append(rounded_odds(network, rounding, frames)[:, -1])
    return {way: _judged(torch.cat(parts), windows.labels) for way, parts in odds.items()}


def _judged(odds: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    loss = torch.nn.functional.binary_cross_entropy_with_logits(odds.double(), labels.double())
    return float(loss), float(((odds > 0) != (labels > 0)).double().mean())


def _learn(seed: int) -> list[dict[str, Any]]:
    train_set, val = _sweeps(2 * seed + 1, 400), _sweeps(2 * seed + 2, 2_000)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def learnt(kind: str, config: Config, start: ScoringModel | None = None) -> ScoringModel:
            train(train_set, val, Cmvn(np.zeros(BANDS, np.float32), np.ones(BANDS, np.float32)), config, folder / kind,
                  start_from=start)  # fmt: skip
            model, _ = load_model(folder / kind)
            rows.append(_row(f"seed {seed}, {kind}", figures(model, train_set, val)))
            return model

        plain = learnt("plain", _config(seed, 0))
        learnt("last epochs rounded", _config(seed, ROUNDED))
        uneven = _with_a_large_channel(plain)
        rows.append(_row(f"seed {seed}, one channel {LARGER:g} times as large", figures(uneven, train_set, val)))
        for kind, rounded in (("that one trained further", 0), ("that one trained further, rounded", EPOCHS)):
            learnt(kind, _config(seed, rounded, rate=3e-3), uneven)
    return rows


def _measure_trained(given: argparse.Namespace) -> list[dict[str, Any]]:
    model, _ = load_model(given.model)
    return [_row(str(given.model), figures(model, open_windows(given.train), open_windows(given.on, clean_only=True)))]


def _row(name: str, found: Figures) -> dict[str, Any]:
    listed = "; ".join(f"{way} {loss:.4f} {errors:.2%}" for way, (loss, errors) in found.items())
    print(f"{name}: {listed}", flush=True)
    return {"name": name, **found}


def _config(seed: int, rounded: int, rate: float = 1e-2) -> Config:
    quiet = ("noise_probability", "colour_db", "band_warp", "style_probability", "isolate_probability")
    return Config.model_validate(
        {
            "seed": seed,
            "training": {
                "model": {
                    "arch": "mixednet", "stem_channels": 8, "channels": 12, "kernels": [[3], [3]], "head_steps": 2,
                    "dropout": 0.0,
                },
                "schedule": {"epochs": EPOCHS, "learning_rate": rate},
                "sampling": {"steps_per_epoch": 25, "batch_size": 32},
                "ema": {"decay": 0.9},
                "augment": {"gain_db": (0, 0), **dict.fromkeys(quiet, 0)},
                "spec_augment": {"time_masks": 0, "mel_masks": 0},
                "quantization": {"epochs": rounded, "rows": 64},
            },
            "features": {
                "frontend": {"kind": "micro", "window_frames": FRAMES},
                "windows": {"tail_seconds": 0.05},
                "context": {"frames": 0},
            },
            "compute": {"threads": 1, "device": "cpu"},
        }
    )  # fmt: skip


def _sweeps(seed: int, rows: int) -> WindowSet:
    """A rising sweep is the word, a falling one is not, and the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(rows, BANDS, FRAMES, generator=generator) * 2 + 8
    kind = torch.arange(rows) % 4
    sweep = 4.0 * torch.eye(20).repeat_interleave(2, dim=0)
    mel[kind == 0, :, 24:44] += sweep
    mel[kind == 1, :, 24:44] += sweep.flip(0)
    names = ("positive", "hard_negative", "negative", "background")
    roles = torch.tensor([ROLES.index(name) for name in names])[kind]
    ends, clean, real = torch.where(kind == 0, 43, -1), torch.zeros_like(kind), torch.zeros(rows, dtype=torch.bool)
    return WindowSet(mel.clamp(0, 26).half(), (kind == 0).long(), roles, clean, ends, real)


def _with_a_large_channel(model: ScoringModel) -> ScoringModel:
    """Make a channel of the first layer larger, which the next one takes back: in floats the same network."""
    backbone: Any = model.backbone
    with torch.no_grad():
        backbone.stem_norm.weight[0] *= LARGER
        backbone.stem_norm.bias[0] *= LARGER
        backbone.blocks[0].depthwise.groups[0].weight[0] /= LARGER
    return model


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", type=Path, help="folder of a trained model, in place of the sweeps")
    parser.add_argument("--train", type=Path, help="features that set the ranges")
    parser.add_argument("--on", type=Path, help="features to measure it on")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
