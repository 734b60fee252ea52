"""How far the data of a manifest have moved from those of another: the population stability index."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wakeword_core.config import SPLITS

_MEASURED = {"loudness": "rms_dbfs", "duration": "seconds"}
_MOST_BINS = 10
_RARE = 1e-3
"""How often chance alone may reach the limit in one comparison; there are a dozen."""
_PSEUDOCOUNT = 0.5
"""Added to every bin, so that an empty one is no infinity (Jeffreys' prior)."""


@dataclass(frozen=True)
class Shift:
    """One comparison: `psi` of what is measured in a split (of one label), over so many recordings then and now."""

    split: str
    label: str
    measured: str
    psi: float
    before: int
    now: int

    @property
    def name(self) -> str:
        """Say what moved, in words."""
        return f"{self.measured} of {self.label} in {self.split}" if self.label else f"{self.measured} of {self.split}"


def drift(before: pd.DataFrame, now: pd.DataFrame, least: float) -> list[Shift]:
    """Return how class mix, loudness and duration moved between two manifests' usable rows, the largest shift first.

    Class mix is compared a split; loudness and duration a split and label, in bins that are quantiles of `before`. A
    comparison of so few recordings that chance alone may reach a PSI of `least` is left out, or made in fewer bins.
    """
    shifts: list[Shift] = []
    for split in SPLITS:
        old, new = before[before["split"] == split], now[now["split"] == split]
        labels = sorted(set(old["label"]) | set(new["label"]))
        counts = [part["label"].value_counts().reindex(labels, fill_value=0).to_numpy() for part in (old, new)]
        if 2 <= len(labels) <= _bins(len(old), len(new), least, len(labels)):
            shifts.append(Shift(split, "", "class mix", psi(*counts), len(old), len(new)))
        for label in labels:
            of_label = [part[part["label"] == label] for part in (old, new)]
            shifts += _measured(split, label, of_label[0], of_label[1], least)
    return sorted(shifts, key=lambda shift: -shift.psi)


def psi(before: npt.NDArray[Any], now: npt.NDArray[Any]) -> float:
    """Return the population stability index of counts [bins]: the sum of (q - p) ln(q / p) of shares (Siddiqi 2006)."""
    shares = [(counts + _PSEUDOCOUNT) / (counts.sum() + _PSEUDOCOUNT * len(counts)) for counts in (before, now)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def _measured(split: str, label: str, old: pd.DataFrame, new: pd.DataFrame, least: float) -> list[Shift]:
    bins = _bins(len(old), len(new), least, _MOST_BINS)
    if bins < 2:
        return []
    shifts = []
    for measured, column in _MEASURED.items():
        inner = np.unique(np.quantile(old[column], np.linspace(0, 1, bins + 1)[1:-1]))
        counts = [np.bincount(np.searchsorted(inner, part[column]), minlength=len(inner) + 1) for part in (old, new)]
        shifts.append(Shift(split, label, measured, psi(*counts), len(old), len(new)))
    return shifts


def _bins(before: int, now: int, least: float, most: int) -> int:
    """Bins, up to `most`, in which so many recordings that did not move rarely reach a PSI of `least`; 0 if not in 2.

    The index is then chi-squared with bins - 1 degrees of freedom, times 1 / before + 1 / now (Yurdakul 2018).
    """
    from scipy.special import chdtri

    if not before or not now:
        return 0
    rare = chdtri(np.arange(1, most), _RARE) * (1 / before + 1 / now)
    fitting = int((rare <= least).sum())
    return fitting + 1 if fitting else 0
