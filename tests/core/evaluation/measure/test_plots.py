"""Pictures: real PNGs, equal for equal figures, different for different ones."""

import struct
import subprocess
import sys

import numpy as np
import pytest

from wakeword_core.evaluation.measure import plots
from wakeword_core.evaluation.streams.thresholds import SweepPoint

HISTORY = [
    {"epoch": i, "train_loss": 1 / i, "val_loss": 1.2 / i, "val_auc": 1 - 0.2 / i, "val_pauc": 1 - 0.4 / i}
    for i in range(1, 6)
]
POINTS = [SweepPoint(t, t**2, 1000 * (1 - t) ** 4) for t in np.linspace(0.01, 1, 50)]
MARKED = {"strict": plots.Marked(0.1, 0.8, 0.09), "lenient": plots.Marked(2.0, 0.5, 3.0)}
SILENT = [SweepPoint(0.5, 0.1, 0.0)]
RANDOM = np.random.default_rng(0)
SHARP = np.column_stack([np.linspace(0, 1, 60), 1 - np.linspace(0, 1, 60)])
SOFT = 0.5 + (SHARP - 0.5) / 2
LABELS = RANDOM.integers(0, 2, 60)


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize(
    ("draw", "other"),
    [
        (lambda: plots.training_curve(HISTORY, 0.1), lambda: plots.training_curve(HISTORY[:1], 0.1)),
        (lambda: plots.training_curve(HISTORY, 0.1), lambda: plots.training_curve(HISTORY, 0.05)),
        (
            lambda: plots.rate_curve([1e-4, 1e-3, 1e-2], [3, 1, 9], [2.5, 1.5, 7], {"suggested": 2e-4}),
            lambda: plots.rate_curve([1e-4, 1e-3, 1e-2], [3, 1, 9], [2.5, 1.5, 7], {"suggested": 2e-3}),
        ),
        (lambda: plots.det_curve(POINTS, MARKED, 5.0), lambda: plots.det_curve(POINTS)),
        (lambda: plots.det_curve(POINTS, MARKED), lambda: plots.det_curve(POINTS, {"strict": MARKED["strict"]})),
        (lambda: plots.det_curve(SILENT), lambda: plots.det_curve(SILENT, {"a": plots.Marked(0.5, 0.1, 0)}, 0.1)),
        (
            lambda: plots.roc_picture([0, 0.02, 1], [0, 0.95, 1], "area", 0.1),
            lambda: plots.roc_picture([0, 0.02, 1], [0, 0.95, 1], "area", 0.05),
        ),
        (
            lambda: plots.roc_picture([0, 0, 1], [0, 1, 1], "perfect", 0.1),
            lambda: plots.roc_picture([0, 1], [0, 1], "perfect", 0.1),
        ),
        (
            lambda: plots.reliability_diagram(SHARP, SOFT, LABELS),
            lambda: plots.reliability_diagram(SOFT, SHARP, LABELS),
        ),
        (
            lambda: plots.score_histogram(SHARP[:, 1], LABELS, 0.5),
            lambda: plots.score_histogram([0.0, 1.0], [0, 0], 0.9),
        ),
        (
            lambda: plots.confusion_picture([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], ["_negative", "hey robin"]),
            lambda: plots.confusion_picture(range(4), range(4), ["_negative", "a", "b", "c"]),
        ),
        (
            lambda: plots.confusion_picture([0, 1, 1], [1, 1, 2], ["_negative", "a", "b"]),
            lambda: plots.confusion_picture([1, 1, 2], [0, 1, 1], ["_negative", "a", "b"]),
        ),
    ],
)
def test_pictures_show_what_they_are_given(draw, other):
    one, two = draw(), other()
    assert min(*size(one), *size(two)) > 200
    assert one != two


def test_equal_figures_give_equal_bytes():
    assert plots.training_curve(HISTORY, 0.1) == plots.training_curve(HISTORY, 0.1)


def test_the_training_curve_names_the_rate_of_its_partial_auc(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "as_png", lambda figure: figures.append(figure) or b"")
    plots.training_curve(HISTORY, 0.05)
    assert [line.get_label() for line in figures[0].axes[1].get_lines()] == ["ROC-AUC", "pAUC, FPR ≤ 0.05"]


def test_no_global_plotting_state():
    code = (
        "import sys; from wakeword_core.evaluation.measure import plots; assert 'matplotlib' not in sys.modules; "
        "plots.confusion_picture([0, 1], [0, 1], ['a', 'b']); print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_no_caption_of_a_det_curve_lies_on_it_and_no_axis_goes_beyond_all_words(monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "as_png", lambda figure: figures.append(figure) or b"")
    deaf = [SweepPoint(point.threshold, 1.0, point.fah) for point in POINTS]
    plots.det_curve(deaf, {"strict": plots.Marked(0.1, 1.0, 0.0)}, 1.0, "with the judge", {"the model alone": POINTS})
    (figure,) = figures
    figure.canvas.draw()
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text().partition(":")[0] for text in legend.get_texts()] == [
        "with the judge", "the model alone", "strict"
    ]  # fmt: skip
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert max(label for label in axes.get_yticks() if label <= axes.get_ylim()[1]) == 100
