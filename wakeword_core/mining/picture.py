"""The scores of events as a histogram: all that were found, and those whose clips were kept."""

from collections.abc import Sequence

import numpy as np

from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure

_SIZE = (6.4, 4.2)
_BINS = 40


def score_picture(events: Sequence[float], kept: Sequence[float], min_score: float) -> bytes:
    """PNG: events by their score in [min_score, 1], and above them the clips that were kept."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(*_SIZE)
    axes = figure.subplots()
    edges = np.linspace(min_score, 1.0, _BINS + 1).tolist()
    axes.hist(events, edges, color=GREY, alpha=0.45, label=f"events ({len(events):,})")
    axes.hist(kept, edges, color=PALETTE[0], label=f"clips kept ({len(kept):,})")
    axes.set(xlabel="highest score of the event", ylabel="events", title="False alarms in the training split")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return as_png(figure)
