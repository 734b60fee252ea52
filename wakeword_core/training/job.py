"""What a training starts from, in memory and, for processes that share it, in a folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from wakeword_core.config import Config
from wakeword_core.files import read_json, replacing, write_json
from wakeword_core.models.scoring import ScoringModel, load_model, model_card, save_model

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

_TENSORS = "windows.safetensors"
_FACTS = "job.json"
_START = "start_from"
_USED = ("mel", "labels", "roles", "views", "word_ends")
"""What training uses of a window set."""


@dataclass(frozen=True)
class Job:
    """Windows of both splits, how they are normalised, settings, and the weights to begin with, if any."""

    train: "WindowSet"
    val: "WindowSet"
    cmvn: "Cmvn"
    config: Config
    start_from: ScoringModel | None = None
    micro_batch: int = 0
    """rows at once at most, where memory has been exhausted before; 0: as the settings say"""

    def save(self, folder: Path) -> None:
        """Write it to a folder for `load_job`."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"cmvn.{name}": torch.as_tensor(values) for name, values in asdict(self.cmvn).items()}
        for split, windows in (("train", self.train), ("val", self.val)):
            tensors |= {f"{split}.{name}": getattr(windows, name).cpu().contiguous() for name in _USED}
        with replacing(folder / _TENSORS) as part:
            save_file(tensors, part)
        if self.start_from is not None:
            save_model(folder / _START, self.start_from, model_card(self.config))
        facts = {"config": self.config.model_dump(mode="json"), "micro_batch": self.micro_batch}
        write_json(folder / _FACTS, {**facts, "further": self.start_from is not None})


def load_job(folder: Path) -> Job:
    """The job in a folder; its window sets have what training uses of them and no more."""
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

    facts, tensors = read_json(folder / _FACTS), load_file(folder / _TENSORS)

    def windows(split: str) -> WindowSet:
        used = {name: tensors[f"{split}.{name}"] for name in _USED}
        return WindowSet(ids=np.empty(0, np.str_), **used)

    cmvn = Cmvn(tensors["cmvn.mean"].numpy(), tensors["cmvn.std"].numpy())
    start_from = load_model(folder / _START)[0] if facts["further"] else None
    config = Config.model_validate(facts["config"])
    return Job(windows("train"), windows("val"), cmvn, config, start_from, facts["micro_batch"])
