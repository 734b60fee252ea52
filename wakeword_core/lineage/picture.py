"""The graph behind an artifact as a picture: inputs at the top, what was made from them below."""

from itertools import pairwise

from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure
from wakeword_core.lineage.recordings import is_recordings
from wakeword_core.store.graph import Graph, Node, NodeId

_COLUMN_INCHES, _ROW_INCHES, _MARGIN_INCHES = 1.62, 0.76, 0.35
_BOX_WIDTH, _BOX_HEIGHT = 0.86, 0.58
_LANE_WIDTH = 0.2
"""Of a line that passes a row of boxes, in columns."""
_FONT = 7.5
_KEY_LENGTH = 8
_GROUPS = {
    "raw_audio": 6, "synthetic_speech": 0, "raw_manifest": 0, "audio_shards": 0, "mel_features": 4, "cmvn_stats": 4,
    "trained_model": 2, "mined_negatives": 2, "tuned_model": 2, "calibrated_model": 2, "judge_model": 2,
    "teacher_scores": 2,
}  # fmt: skip
_DELIVERED = 1
"""Colours, by place in the palette, of the groups of the graph; what is not named is delivered."""

_Slot = tuple[NodeId, int]
"""A place in a row: where a node is, or where the lines of a node that is further up pass."""


def lineage_picture(graph: Graph, node: Node) -> bytes:
    """Draw a PNG of everything that `node` was made from, and `node` itself.

    An input that is also behind another input is not drawn as one: the test reads nearly everything.
    """
    members = {member.id: member for member in (node, *graph.upstream(node))}
    rows = _rows(graph, members)
    paths = [
        [(source.id, row) for row in range(rows[source.id], rows[member.id])] + [(member.id, rows[member.id])]
        for member in members.values()
        for source in graph.direct_inputs(member)
        if rows[source.id] < rows[member.id]
    ]
    places, width = _places(rows, paths)
    height = 1 + max(rows.values())
    figure = new_figure(width * _COLUMN_INCHES + _MARGIN_INCHES, height * _ROW_INCHES + _MARGIN_INCHES)
    axes = figure.subplots()
    axes.set_xlim(-0.1, width + 0.1)
    axes.set_ylim(height - 0.4, -0.6)
    axes.axis("off")
    for path in paths:
        _line(axes, [(places[slot], slot[1]) for slot in path])
    for member in members.values():
        row = rows[member.id]
        _box(axes, (places[member.id, row], row), member)
    return as_png(figure)


def _rows(graph: Graph, members: dict[NodeId, Node]) -> dict[NodeId, int]:
    """Return the row of each node: below all its inputs."""
    rows: dict[NodeId, int] = {}

    def row(node: Node) -> int:
        if node.id not in rows:
            rows[node.id] = 0  # ends a circle, which only a damaged card can hold
            inputs = (source for source in graph.inputs(node) if source.id in members)
            rows[node.id] = 1 + max(map(row, inputs), default=-1)
        return rows[node.id]

    for node in members.values():
        row(node)
    return rows


def _places(rows: dict[NodeId, int], paths: list[list[_Slot]]) -> tuple[dict[_Slot, float], float]:
    """Return how far right each slot is, in columns, and the width of the widest row, in the middle of which all are.

    No box is in the way of a line, since the line has a slot in each row that it passes.
    """
    before: dict[_Slot, list[_Slot]] = {slot: [] for slot in rows.items()}
    for path in paths:
        for above, below in pairwise(path):
            before.setdefault(below, []).append(above)
    by_row: dict[int, list[_Slot]] = {}
    for slot in before:
        by_row.setdefault(slot[1], []).append(slot)
    width = max(sum(_width(slot, rows) for slot in slots) for slots in by_row.values())
    places: dict[_Slot, float] = {}
    for _, slots in sorted(by_row.items()):
        wanted = {slot: _mean([places[above] for above in before[slot] if above in places]) for slot in slots}
        right = (width - sum(_width(slot, rows) for slot in slots)) / 2
        for slot in sorted(slots, key=lambda slot: (wanted[slot], slot)):
            places[slot] = right + _width(slot, rows) / 2
            right += _width(slot, rows)
    return places, width


def _width(slot: _Slot, rows: dict[NodeId, int]) -> float:
    return 1.0 if rows[slot[0]] == slot[1] else _LANE_WIDTH


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _line(axes: object, points: list[tuple[float, float]]) -> None:
    """Draw a line from below the first point through the others, which it passes upright, to above the last."""
    half = _BOX_HEIGHT / 2
    corners = [(x, y + end) for x, y in points for end in (-half, half)][1:-1]
    style = {"color": GREY, "lw": 0.8}
    axes.plot(*zip(*corners[:-1], strict=True), **style, zorder=1)  # type: ignore[attr-defined]
    axes.annotate(  # type: ignore[attr-defined]
        "",
        xy=corners[-1],
        xytext=corners[-2],
        arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **style},
        zorder=1,
    )


def _box(axes: object, place: tuple[float, float], node: Node) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour = PALETTE[_GROUPS.get(node.stage, _DELIVERED)]
    left, top = place[0] - _BOX_WIDTH / 2, place[1] - _BOX_HEIGHT / 2
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(  # type: ignore[attr-defined]
        FancyBboxPatch(
            (left, top), _BOX_WIDTH, _BOX_HEIGHT, boxstyle=style, facecolor="white", edgecolor=colour, lw=1.4, zorder=2
        )
    )
    below = "" if is_recordings(node) else f"\n{node.created[:10]}"
    axes.text(  # type: ignore[attr-defined]
        *place,
        f"{node.name}\n{node.key[:_KEY_LENGTH]}{below}",
        ha="center",
        va="center",
        fontsize=_FONT,
        linespacing=1.25,
        zorder=3,
    )
