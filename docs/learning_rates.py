"""A picture of learning rates; `python docs/learning_rates.py FILE` draws the one of docs/training.md."""

import sys
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import get_args, get_type_hints

from wakeword_core.config import ScheduleConfig
from wakeword_core.drawing import PALETTE, as_png, new_figure
from wakeword_core.training.optim import learning_rate

SCHEDULES: tuple[str, ...] = get_args(get_type_hints(ScheduleConfig)["kind"])
_EPOCHS, _EPOCH_STEPS = 20, 50
_LAST_BETTER_EPOCHS = (6, 13)
"""Of the example of a plateau: nothing is better after the first of these until the next."""
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def rates_picture(rates: Mapping[str, Sequence[float]]) -> bytes:
    """Draw the learning rate of each step as a PNG, a line a schedule."""
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    for (name, values), colour, style in zip(rates.items(), cycle(PALETTE), cycle(_STYLES), strict=False):
        axes.plot(range(1, len(values) + 1), values, color=colour, ls=style, label=name.replace("_", "-"))
    axes.set(xlabel="step", ylabel="learning rate", title="Learning rate schedules", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return as_png(figure)


def example_rates() -> dict[str, list[float]]:
    """Compute the rates of each schedule with default settings; validation stops getting better twice."""
    steps, first, second = _EPOCHS * _EPOCH_STEPS, *_LAST_BETTER_EPOCHS
    scores = [(float(min(epoch, first) + (epoch > second)),) for epoch in range(_EPOCHS)]
    settings = {name: ScheduleConfig(kind=name) for name in SCHEDULES}
    return {
        name: [learning_rate(step, steps, settings[name], scores[: step // _EPOCH_STEPS]) for step in range(steps)]
        for name in SCHEDULES
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(rates_picture(example_rates()))
