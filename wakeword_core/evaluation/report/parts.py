"""What pages of figures share: how one is made of its template, its charts of rates, and its lists with players."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from wakeword_core.evaluation.measure import wording
from wakeword_core.evaluation.report.players import Player

SHOWN = 20
"""Rows of a list on the page; the JSON has them all."""
_SCALES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Ends of a chart's axis."""


def render(template: str, contents: Mapping[str, Any]) -> str:
    """Return the page that a template of this folder makes of `contents`, all of which it needs."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: resources.files(__package__).joinpath(name).read_text("utf-8")),
    )
    # a percent sign stays with its number
    environment.finalize = lambda value: value.replace(" %", "\N{NO-BREAK SPACE}%") if isinstance(value, str) else value
    environment.filters |= {
        name: getattr(wording, name) for name in ("percent", "rate", "number", "seconds", "clock", "measure", "signed")
    }
    environment.filters["breakable"] = lambda name: Markup("_<wbr>").join(name.split("_"))
    return environment.get_template(template).render(contents)


def condition_chart(conditions: Sequence[Mapping[str, Any]], marked: Sequence[str]) -> dict[str, Any]:
    """Return the chart of conditions, with latencies; those of the headline are marked."""
    rows = [
        {
            **condition,
            "marked": condition["name"] in marked,
            "latency": f"{wording.seconds(condition['latency_p50'])} / {wording.seconds(condition['latency_p95'])}",
        }
        for condition in conditions
    ]
    return {**chart(rows), "latency": True}


def phrase_chart(sources: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the chart of the sources whose short phrases are let in most; None without any."""
    return group_chart(
        [
            {
                "name": source["name"],
                "words": source["recordings"],
                "misses": source["accepted"],
                "frr": source["share"],
                "frr_interval": source["interval"],
            }
            for source in sources
        ]
    )


def group_chart(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the chart of the groups with most misses; None without any."""
    worst_first = sorted(groups, key=lambda group: (-group["frr"], -group["words"], group["name"]))
    return chart(worst_first, SHOWN) if groups else None


def chart(groups: Sequence[Mapping[str, Any]], limit: int | None = None) -> dict[str, Any]:
    """Return the chart of the first groups in their order."""
    kept = groups[:limit]
    highest = max((group["frr_interval"][1] for group in kept), default=1.0)
    scale = next((end for end in _SCALES if end >= highest), 1.0)
    rows = [
        {
            "name": group["name"],
            "count": group["words"],
            "events": group["misses"],
            "rate": group["frr"],
            "interval": group["frr_interval"],
            "at": _place(group["frr"], scale),
            "left": _place(group["frr_interval"][0], scale),
            "width": _place(group["frr_interval"][1] - group["frr_interval"][0], scale),
            "far": bool(group.get("far")),
            "marked": bool(group.get("marked")),
            "latency": group.get("latency", ""),
        }
        for group in kept
    ]
    far = any(row["far"] for row in rows)
    return {"rows": rows, "scale": scale, "more": more(groups, len(kept)), "latency": False, "far": far}


def with_players(
    name: str, rows: Sequence[Mapping[str, Any]], players: Sequence[Player | None]
) -> dict[str, list[tuple[Any, Player | None]] | str]:
    """Return the first rows of a list with their players; without any players, as many as any list shows."""
    kept = rows[: len(players) or SHOWN]
    pairs = [(row, players[index] if players else None) for index, row in enumerate(kept)]
    return {name: pairs, f"more_{name}": more(rows, len(kept))}


def more(rows: Sequence[Any], kept: int) -> str:
    """Say how many rows are not shown; nothing where all are."""
    return f"And {len(rows) - kept:,} more in metrics.json." if len(rows) > kept else ""


def _place(share: float, scale: float) -> str:
    return f"{100 * min(share / scale, 1.0):.2f}"
