"""The last layers of an encoder, trained together with heads that have settled on the encoder as it was.

What comes before those layers stays frozen, and is computed once for each row that the training draws.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from wakeword_core.config.judge import JudgeConfig
from wakeword_core.judge.head import (
    STEPS_SEEN,
    JudgeHeads,
    Places,
    chances_of,
    in_turn,
    loss_of_others,
    loss_of_words,
)
from wakeword_core.judge.rows import EmbeddedRows
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.encoders import Encoder, Floats, in_steps
from wakeword_core.runtime.encoders.transformers import TransformersEncoder

_POSITIVES, _NEGATIVES = 6, 18
"""Rows of a step: each is several windows, which go through whole layers and back."""
_CLIP_NORM = 1.0

EmbedRows = Callable[[Encoder, npt.NDArray[np.uint64]], EmbeddedRows]
"""Encodes the training rows of some keys."""


class _FrozenLayers(TransformersEncoder):
    """An encoder up to its last frozen layer, whose frames are what it gives."""

    def encode(self, sound: Floats) -> Floats:
        """Return frames float32 [batch, frames, numbers], which are no steps yet."""
        return self.frames(sound)


class TunedEncoder:
    """A copy of an encoder of which the last layers learn."""

    def __init__(self, encoder: TransformersEncoder, layers: int) -> None:
        self._frame_samples = encoder.frame_samples
        model, lower = (copy.deepcopy(encoder.model).requires_grad_(False).eval() for _ in range(2))
        self.model, below = cast(Any, model), cast(Any, lower)  # whose parts torch does not know
        frozen = encoder.layers - layers
        self._layers: nn.ModuleList = self.model.encoder.layers[frozen:].requires_grad_(True)
        below.encoder.layers = below.encoder.layers[:frozen]
        self._norm: nn.Module = nn.Identity()
        if self.model.config.do_stable_layer_norm:  # then a norm comes after all layers
            self._norm, below.encoder.layer_norm = self.model.encoder.layer_norm, nn.Identity()
        self.frozen = _FrozenLayers(lower, encoder.levelled, encoder.licence, encoder.content)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Return what learns."""
        return list(self._layers.parameters())

    def steps(self, frames: Tensor) -> Tensor:
        """Map frames [windows, frames, numbers] of the last frozen layer to the encoder's steps."""
        hidden, beside = frames, self._beside(*frames.shape[:2])
        for layer in self._layers:
            given = layer(hidden, **beside)
            hidden = given[0] if isinstance(given, tuple) else given
        return cast(Tensor, in_steps(self._norm(hidden), self._frame_samples))

    def _beside(self, windows: int, frames: int) -> dict[str, Tensor]:
        """Return what WavLM's first layer, which may be frozen, hands on to the others: where frames are."""
        attention = self.model.encoder.layers[0].attention
        if not hasattr(attention, "compute_bias"):
            return {}
        with torch.no_grad():
            return {"position_bias": attention.compute_bias(frames, frames).repeat(windows, 1, 1)}

    def save(self, folder: Path) -> None:
        """Write configuration and weights; the same weights give the same bytes."""
        if hasattr(self.model, "masked_spec_embed"):
            self.model.masked_spec_embed.data.zero_()  # which only its own training used, and some files lack
        self.model.save_pretrained(folder)


def unfreeze(
    rows: EmbeddedRows,
    encoder: TransformersEncoder,
    heads: JudgeHeads,
    settings: JudgeConfig,
    seed: int,
    embed: EmbedRows,
    progress: Progress = silent,
) -> tuple[TunedEncoder, dict[str, Any]]:
    """Train the last layers of an encoder, and the heads with them; returns the encoder, and figures.

    `rows` are those that the heads have learnt from, and `embed` encodes some of them anew.
    """
    tuned = TunedEncoder(encoder, settings.unfreeze_layers)
    places = Places.of(rows)
    positives, negatives = places.rows_to_learn(rows.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        chances, turns = chances_of(heads, rows.embeddings[negatives]), in_turn(positives, _POSITIVES)
        drawn = [
            (next(turns), negatives[torch.multinomial(chances, _NEGATIVES, replacement=True)])
            for _ in range(settings.unfreeze_steps)
        ]
        used = torch.cat([some for pair in drawn for some in pair]).unique()
        assert rows.keys is not None
        frozen = embed(tuned.frozen, rows.keys[used.numpy()])
        at = _positions(rows, frozen)
        learning = [*tuned.parameters, *heads.parameters()]
        optimizer = torch.optim.AdamW(learning, settings.unfreeze_rate, weight_decay=settings.head.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.unfreeze_rate, total_steps=len(drawn))
        losses = []
        for step, (chosen, others) in enumerate(drawn):
            _learning(heads)
            windows = frozen.embeddings[at[torch.cat([chosen, others])]]
            steps = tuned.steps(windows.flatten(0, 1).float())[:, -STEPS_SEEN:].unflatten(0, windows.shape[:2])
            loss = torch.zeros(())
            for head in heads.heads:
                odds = head(steps)
                where = places.heard[chosen], places.silent[chosen]
                loss = loss + loss_of_words(odds[: len(chosen)], rows.labels[chosen] - 1, *where)
                loss = loss + loss_of_others(odds[len(chosen) :])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learning, _CLIP_NORM)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()) / len(heads.heads))
            progress("train layers of the encoder", step + 1, len(drawn))
    heads.eval()
    figures = {"unfrozen_layers": settings.unfreeze_layers, "unfrozen_rows": len(used), "unfrozen_loss": losses[-1]}
    return tuned, figures


def _learning(heads: JudgeHeads) -> None:
    """Have heads learn with noise and dropout, but keep what they are normalised by: batches are small."""
    heads.train()
    for module in heads.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()


def _positions(rows: EmbeddedRows, some: EmbeddedRows) -> Tensor:
    """Return where each of the rows is among some of them; nowhere is -1."""
    assert rows.keys is not None and some.keys is not None
    places = {key: place for place, key in enumerate(some.keys.tolist())}
    return torch.tensor([places.get(key, -1) for key in rows.keys.tolist()])
