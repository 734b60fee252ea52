"""Scores of two classes that overlap."""

import numpy as np


def drawn(seed, positives, negatives, places=12):
    """Scores and labels; rounding to few places makes ties."""
    random = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-np.r_[random.normal(1.5, 2, positives), random.normal(-2.5, 2, negatives)]))
    return np.round(scores, places), np.r_[np.ones(positives, bool), np.zeros(negatives, bool)]
