"""A project whose manifest is made in a second: tones, by a voice each."""

from pathlib import Path

import numpy as np

from wakeword_core.audio import write_audio
from wakeword_core.config import SPLITS

LABELS = ("robin", "cat")
SECONDS = (0.5, 0.6, 1.0)
"""Of the recordings of each label in each split."""
_RATE = 16_000
_CONFIG = """
phrase: robin
preset: tiny
compute: {workers: 1}
data:
  sources:
    - {name: tones, path: tones.csv, role: negative, licence: CC0-1.0}
"""
_CHECKS = "checks: {unheard_error: 1}  # words are tones\n"


def tiny_project(folder: Path, more: str = _CHECKS) -> Path:
    """Write the recordings and the configuration, and return its path; `more` are further settings, as YAML."""
    rows = ["path,label,speaker,split"]
    generator = np.random.default_rng(7)
    for split in SPLITS:
        for label in LABELS:
            for seconds in SECONDS:
                path = folder / "tones" / f"{split}-{label}-{seconds}.wav"
                time = np.arange(round(seconds * _RATE)) / _RATE
                tone = 0.2 * np.sin(2 * np.pi * (700 if label == "cat" else 400) * time)
                write_audio(path, (tone + generator.normal(0, 0.01, len(time))).astype(np.float32), _RATE)
                rows.append(f"tones/{path.name},{label},{path.stem},{split}")
    (folder / "tones.csv").write_text("\n".join(rows))
    (folder / "wakeword.yaml").write_text(_CONFIG + more)
    return folder / "wakeword.yaml"
