"""The picture of what an artifact was made from: every input, and no line behind a box."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.path import Path

from wakeword_core.graph.stages import STAGES
from wakeword_core.lineage import picture
from wakeword_core.store.graph import Edge, Graph, Node

COLOUR_OF_GROUP = {"ingest": 0, "features": 4, "model": 2, "delivery": 1}
"""Places in the palette."""


def node(stage, *sources):
    return Node(stage, stage, created="2026-01-01", inputs=tuple(Edge(name, name, name, "") for name in sources))


# `wide` is needed at once and again three steps later, and `early` only at the end
CHAIN = [
    node("early"),
    node("wide"),
    node("first", "wide"),
    node("second", "first"),
    node("aside", "wide"),
    node("third", "second", "aside"),
    node("last", "third", "early"),
]


@pytest.fixture
def drawn(monkeypatch):
    """The function that draws the last of some nodes, and returns its figure's only axes."""

    def draw(nodes):
        figures = []
        monkeypatch.setattr(picture, "as_png", lambda figure: figures.append(figure) or b"")
        picture.lineage_picture(Graph(nodes), nodes[-1])
        figures[0].canvas.draw()
        return figures[0].axes[0]

    return draw


def lines(axes):
    """Each stroke of each line, in pixels: those of lines, and of the arrows that they end in."""
    bent = [axes.transData.transform(line.get_xydata()) for line in axes.get_lines()]
    ends = [axes.transData.transform([text.xyann, text.xy]) for text in axes.texts if getattr(text, "arrow_patch", 0)]
    return [Path(stroke) for points in (*bent, *ends) for stroke in pairwise(np.asarray(points))]


def test_no_line_runs_behind_a_box(drawn):
    axes = drawn(CHAIN)
    boxes = [box.get_window_extent() for box in axes.patches]
    assert len(boxes) == len(CHAIN)
    assert not any(line.intersects_bbox(box.padded(-2)) for line in lines(axes) for box in boxes)


def test_an_arrow_ends_at_the_top_of_what_was_made(drawn):
    axes = drawn(CHAIN)
    ends = sorted(axes.transData.transform(text.xy)[1] for text in axes.texts if getattr(text, "arrow_patch", 0))
    tops = {box.get_window_extent().y1 for box in axes.patches}
    assert len(ends) == sum(len(one.inputs) for one in CHAIN)
    assert all(any(abs(end - top) < 3 for top in tops) for end in ends)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_has_the_colour_of_its_group(drawn, stage):
    box = drawn([node(stage.name)]).patches[0]
    assert to_hex(box.get_edgecolor()).upper() == picture.PALETTE[COLOUR_OF_GROUP[stage.group]].upper()


def test_a_circle_which_only_a_damaged_card_can_hold_is_drawn_all_the_same(drawn):
    assert len(drawn([node("one", "two"), node("two", "one")]).patches) == 2
