"""The graph behind an artifact as a picture: inputs on the left, what was made from them on the right."""

from wakeword_core.drawing import GREY, PALETTE, as_png, new_figure
from wakeword_core.lineage.recordings import is_recordings
from wakeword_core.store.graph import Graph, Node, NodeId

_COLUMN_INCHES, _ROW_INCHES, _MARGIN_INCHES = 1.62, 0.62, 0.35
_BOX_WIDTH, _BOX_HEIGHT = 0.86, 0.62
_FONT = 7.5
_KEY_LENGTH = 8
_GROUPS = {
    "raw_audio": 6, "synthetic_speech": 0, "raw_manifest": 0, "audio_shards": 0, "mel_features": 4, "cmvn_stats": 4,
    "trained_model": 2, "mined_negatives": 2, "tuned_model": 2, "calibrated_model": 2,
}  # fmt: skip
_DELIVERED = 1
"""Colours, by place in the palette, of the groups of the graph; what is not named is delivered."""


def lineage_picture(graph: Graph, node: Node) -> bytes:
    """Draw a PNG of everything that `node` was made from, and `node` itself.

    An input that is also behind another input is not drawn as one: the test reads nearly everything.
    """
    members = {member.id: member for member in (node, *graph.upstream(node))}
    places = _places(graph, members)
    columns = 1 + max(column for column, _ in places.values())
    rows = 1 + max(row for _, row in places.values())
    width, height = columns * _COLUMN_INCHES + _MARGIN_INCHES, rows * _ROW_INCHES + _MARGIN_INCHES
    figure = new_figure(width, height)
    axes = figure.subplots()
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.axis("off")
    for member in members.values():
        for source in graph.direct_inputs(member):
            _arrow(axes, places[source.id], places[member.id])
    for member in members.values():
        _box(axes, places[member.id], member)
    return as_png(figure)


def _places(graph: Graph, members: dict[NodeId, Node]) -> dict[NodeId, tuple[float, float]]:
    """Return (column, row) of each node: a column right of all its inputs, rows centred in the tallest column."""
    columns: dict[NodeId, int] = {}

    def column(node: Node) -> int:
        if node.id not in columns:
            columns[node.id] = 0  # ends a circle, which only a damaged card can hold
            inputs = (source for source in graph.inputs(node) if source.id in members)
            columns[node.id] = 1 + max(map(column, inputs), default=-1)
        return columns[node.id]

    by_column: dict[int, list[Node]] = {}
    for node in members.values():
        by_column.setdefault(column(node), []).append(node)
    tallest = max(len(nodes) for nodes in by_column.values())
    places: dict[NodeId, tuple[float, float]] = {}
    for column_index, nodes in sorted(by_column.items()):
        rows = {node.id: _mean_row(graph, node, places) for node in nodes}
        start = (tallest - len(nodes)) / 2
        for row, node in enumerate(sorted(nodes, key=lambda node: (rows[node.id], node.name))):
            places[node.id] = (float(column_index), start + row)
    return places


def _mean_row(graph: Graph, node: Node, places: dict[NodeId, tuple[float, float]]) -> float:
    rows = [places[source.id][1] for source in graph.direct_inputs(node) if source.id in places]
    return sum(rows) / len(rows) if rows else 0.0


def _arrow(axes: object, start: tuple[float, float], end: tuple[float, float]) -> None:
    half = _BOX_WIDTH / 2
    axes.annotate(  # type: ignore[attr-defined]
        "",
        xy=(end[0] - half, end[1]),
        xytext=(start[0] + half, start[1]),
        arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 0.8, "shrinkA": 0, "shrinkB": 0},
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
