"""The judge as one ONNX file: the sound of a window in, scores out, with the frozen embedding inside."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.errors import WakewordError
from wakeword_core.export.onnx_export import traced
from wakeword_core.export.onnx_graph import compact, set_card, write_model
from wakeword_core.judge.embedding import HOP, INT16, SpeechEmbedding, window_samples
from wakeword_core.judge.head import STEPS_SEEN, JudgeHead
from wakeword_core.runtime.exported import JUDGE_FILE
from wakeword_core.runtime.judge import Judge, log_odds
from wakeword_core.runtime.streaming import AUDIO

WINDOW_SAMPLES = window_samples(STEPS_SEEN)
_PARITY_WINDOWS = 16
_ROUNDED = 8.0
"""Log-odds beyond which a score of float32 is 0 or 1 but for rounding."""
_LEVELS = (1e-3, 1e-2, 1e-1)
"""Standard deviations of the noise that is compared, full scale being 1."""


class JudgeNetwork(nn.Module):
    """Sound [batch, window_samples] in [-1, 1] -> scores [batch, classes]; the first class is that nothing was said."""

    basis: Tensor
    bands: Tensor

    def __init__(self, embedding: SpeechEmbedding, head: JudgeHead) -> None:
        super().__init__()
        self.embedding, self.head = embedding, head
        # neither the ends of the window function, which are 0, nor frequencies outside of all bands
        heard = torch.nonzero(embedding.bands.any(1)).flatten()
        weighted = torch.nonzero(embedding.basis.any(0)).flatten()
        self._first, last = int(weighted[0]), int(weighted[-1])
        cosines, sines = (part[heard, self._first : last + 1] for part in embedding.basis.chunk(2))
        self.register_buffer("basis", torch.cat([cosines, sines])[:, None] * INT16)
        self.register_buffer("bands", embedding.bands[heard])
        self._unused = embedding.basis.shape[1] - 1 - last

    def forward(self, audio: Tensor) -> Tensor:
        """Score windows, with the spectrum as the matrix product that it is: ONNX runtimes have no such transform."""
        weighted = audio[:, None, self._first : audio.shape[1] - self._unused]
        cosines, sines = functional.conv1d(weighted, self.basis, stride=HOP).square().chunk(2, dim=1)
        embeddings = self.embedding.of_bands((cosines + sines).transpose(1, 2) @ self.bands)
        words = torch.sigmoid(self.head(embeddings)[:, -1])
        return torch.cat([1 - words.amax(1, keepdim=True), words], dim=1)


def export_judge(
    embedding: SpeechEmbedding, head: JudgeHead, card: dict[str, Any], opset: int, tolerance: float, out: Path
) -> dict[str, Any]:
    """Write `out/judge.onnx` with its card, and return figures; the same judge gives the same bytes.

    WakewordError when its log-odds differ from torch's, as a share of the largest, by more than `tolerance`.
    """
    network = JudgeNetwork(embedding, head).eval()
    graph = compact(traced(network, (AUDIO, (WINDOW_SAMPLES,)), opset))
    set_card(graph, card)
    path = out / JUDGE_FILE
    size = write_model(graph, path)
    difference = _parity(embedding, head, Judge(path))
    if not difference <= tolerance:
        raise WakewordError(
            f"log-odds of {path} differ from torch's by {difference:.2g} of the largest, more than "
            f"export.onnx.parity_tolerance ({tolerance:g}); report this with the configuration"
        )
    return {"bytes": size, "parameters": sum(one.numel() for one in network.parameters()), "parity": difference}


def _parity(embedding: SpeechEmbedding, head: JudgeHead, judge: Judge) -> float:
    generator = np.random.default_rng(0)
    levels = generator.choice(_LEVELS, (_PARITY_WINDOWS, 1))
    windows = (generator.standard_normal((_PARITY_WINDOWS, WINDOW_SAMPLES)) * levels).astype(np.float32)
    with torch.inference_mode():
        expected = head(embedding(torch.from_numpy(windows)))[:, -1].numpy()
    found, expected = (
        np.clip(odds, -_ROUNDED, _ROUNDED) for odds in (log_odds(judge.score_sound(windows))[:, 1:], expected)
    )
    return float(np.abs(found - expected).max() / np.abs(expected).max(initial=1.0))
