"""Tables and trees that commands print: items to delete, states of artifacts, and lineage."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from wakeword_core.config import SPLITS
from wakeword_core.evaluation.measure.wording import percent, rate
from wakeword_core.graph.stage import Judgement
from wakeword_core.graph.status import State
from wakeword_core.lineage.model_file import ModelFile
from wakeword_core.lineage.recordings import is_recordings, mix_of
from wakeword_core.lineage.subjects import Subject
from wakeword_core.store.cleaning import Item
from wakeword_core.store.graph import Node, NodeId
from wakeword_core.store.remote import RemoteItem
from wakeword_core.text import printable
from wakeword_pipeline.cli.failures import failure_text

STYLES = {"fresh": "green", "stale": "yellow", "waits": "yellow dim", "missing": "red"}
SIGNS = {"fresh": "●", "stale": "◐", "waits": "◌", "missing": "○"}
KEY_SHOWN = 10
"""Characters of a key that are shown: enough to tell artifacts apart, and to name one."""
_DAY, _MINUTE = len("2026-01-31"), len("2026-01-31T23:59")
_INDENT = 4
_MEGABYTE, _KILOBYTE = 1e6, 1e3
_PERMISSION_STYLES = {"allowed": "green", "not allowed": "red", "unclear": "yellow"}
_SEAL_STYLES = {"whole": "green", "unsealed": "yellow"}


def print_items(title: str, items: Sequence[Item | RemoteItem], freed: int) -> None:
    """Print what each item is, why it is listed, its size, and that deleting all of them frees so many bytes."""
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("stage", footer="together", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("because")
    table.add_column("size", footer=size_text(freed), justify="right", no_wrap=True)
    for item in items:
        table.add_row(*(Text(printable(text)) for text in (item.stage, item.what, item.because)), size_text(item.size))
    Console().print(table)


def items_json(items: Sequence[Item | RemoteItem]) -> list[dict[str, Any]]:
    """Return the items as JSON values, sizes in bytes."""
    return [
        {
            "stage": item.stage,
            "what": item.what,
            "because": item.because,
            "bytes": item.size,
            "paths": [str(path) for path in item.paths],
        }
        for item in items
    ]


def count_items(items: Sequence[Item | RemoteItem]) -> str:
    """Write how many items there are."""
    return f"{len(items)} item{'s' * (len(items) != 1)}"


def size_text(size: int) -> str:
    """Write a number of bytes for people: 12.3 MB, or 4.5 kB."""
    return f"{size / _MEGABYTE:,.1f} MB" if size >= _MEGABYTE else f"{size / _KILOBYTE:.1f} kB"


def print_states(
    console: Console, states: Sequence[State], failures: Mapping[str, Sequence[Judgement]] = MappingProxyType({})
) -> None:
    """Print a line for each artifact, and below it why it is not fresh, and which checks it does not pass."""
    width = max((len(state.name) for state in states), default=0)
    for state in states:
        artifact, word = state.artifact, state_word(state)
        shown = _DAY if state.waits else _MINUTE  # the line of one that waits fits a terminal of 80 columns
        made = f"{artifact.key[:KEY_SHOWN]}  {artifact.created[:shown].replace('T', ' ')}" if artifact else ""
        line = Text.assemble(
            (f"{SIGNS[word]} {word:<8}", STYLES[word]),
            (f"{state.name:<{width}}  ", "bold" if state.state != "fresh" else ""),
            (printable(made), "dim"),
            (f"  for {printable(state.waits)}" if state.waits else "", "dim"),
        )
        console.print(line, no_wrap=True, overflow="ellipsis")
        for cause in () if state.waits else state.causes:
            style = "dim" if cause.kind == "waits" else ""
            console.print(Padding(Text(printable(cause.sentence), style), (0, 0, 0, _INDENT), expand=False))
        for failure in failures.get(state.name, ()):
            console.print(Padding(failure_text(failure), (0, 0, 0, _INDENT), expand=False))


def state_word(state: State) -> str:
    """Return the word for a state: fresh, stale, missing, or waits where only an input is to be built first."""
    return "waits" if state.waits else state.state


def print_lineage(subject: Subject, data: dict[str, Any] | None, missing: str) -> None:
    """Print what the subject is, what it was made from, what was made from it, and the recordings by source."""
    console = Console(highlight=False)
    if subject.model:
        _print_model(console, subject.model)
    if subject.node:
        root = Tree(_label(subject.node))
        graph = subject.graph
        _grow(root.add(Text("made from", "italic")), graph.direct_inputs(subject.node), graph.direct_inputs)
        after = graph.direct_consumers(subject.node)
        if after:
            _grow(root.add(Text("goes into", "italic")), after, graph.direct_consumers)
        console.print(root)
    else:
        _print_recording(console, subject)
        return
    if data:
        _print_data(console, data)
    if missing:
        console.print(Text(f"\n{printable(missing)}", "yellow"))


def _print_model(console: Console, file: ModelFile) -> None:
    card = file.model_card
    console.print(
        Text.assemble((printable(file.card.get("phrase")), "bold"), f"  {printable(file.path)}"), soft_wrap=True
    )
    console.print(Text.assemble("unaltered since export: ", (file.seal, _SEAL_STYLES.get(file.seal, "bold red"))))
    if card:
        test = card["metrics"]["test"]
        tested = (
            f"made {card['created'][:10]}; on its test {percent(test['frr'])} of {test['words']:,} words missed, "
            f"{rate(test['fah'])} false alarms an hour ({rate(test['background_hours'])} h)"
        )
        console.print(Text(printable(tested)))
    console.print()


def _print_recording(console: Console, subject: Subject) -> None:
    row = subject.recording[-1].row
    console.print(
        Text.assemble((printable(f"{row['source']}/{row['path']}"), "bold"), f"  {row['recording_id'][:KEY_SHOWN]}"),
        soft_wrap=True,
    )
    speaker = row["speaker"] if row["speaker_known"] else "unknown"
    described = (
        f"{row['role']}, label {row['label']}, speaker {speaker}, {row['seconds']:.2f} s, "
        f"licence {row['licence'] or 'not stated'}; {row['status']} in {row['split']}"
    )
    console.print(Text(printable(described)))
    if row["reason"]:
        console.print(Text(printable(row["reason"])))
    starts = subject.starts
    if not starts:
        console.print("[yellow]nothing was made from it[/]")
        return
    root = Tree(Text("goes into", "italic"))
    _grow(root, starts, subject.graph.direct_consumers)
    console.print(root)


def _grow(branch: Tree, nodes: list[Node], step: Callable[[Node], list[Node]]) -> None:
    """Add `nodes` and what follows from them to a branch; what is on the tree already is only named again."""
    seen: set[NodeId] = set()
    waiting = [(branch, node) for node in reversed(nodes)]
    while waiting:
        place, node = waiting.pop()
        if node.id in seen:
            place.add(_line(_name(node), (f"  {node.key[:KEY_SHOWN]}  (above)", "dim")))
            continue
        seen.add(node.id)
        below = place.add(_label(node))
        waiting += [(below, following) for following in reversed(step(node))]


def _line(*parts: str | tuple[str, str]) -> Text:
    shown = (printable(part) if isinstance(part, str) else (printable(part[0]), part[1]) for part in parts)
    return Text.assemble(*shown, no_wrap=True, overflow="ellipsis")


def _name(node: Node) -> str:
    return "recordings as of" if is_recordings(node) else node.name


def _label(node: Node) -> Text:
    built = f"  {node.created[:_MINUTE].replace('T', ' ')}" if node.created else ""
    code = f"  code {node.code_version}" if node.code_version else ""
    return _line((_name(node), "bold"), (f"  {node.key[:KEY_SHOWN]}", "cyan"), (f"{built}{code}", "dim"))


def _print_data(console: Console, data: dict[str, Any]) -> None:
    unknown = f" and {data['unknown_speakers']:,} by unknown ones" if data["unknown_speakers"] else ""
    title = f"\n{data['recordings']:,} recordings, {data['hours']:.2f} h, {data['speakers']:,} known speakers{unknown}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("source", overflow="fold")
    table.add_column("licence", overflow="fold")
    splits = [split for split in SPLITS if split in data["splits"]]
    for heading in ("recordings", "hours", "speakers", *splits):
        table.add_column(heading, justify="right", no_wrap=True)
    for source in data["sources"]:
        by_split = (f"{source['splits'].get(split, 0):,}" for split in splits)
        licence = Text(printable(source["licence"]), _PERMISSION_STYLES[source["commercial_use"]])
        speakers = f"{source['speakers']:,}" if source["speakers"] else "unknown"
        recordings, hours = f"{source['recordings']:,}", f"{source['hours']:.2f}"
        table.add_row(Text(printable(source["source"])), licence, recordings, hours, speakers, *by_split)
    console.print(table)
    _print_permission(console, data["sources"])


def _print_permission(console: Console, sources: list[dict[str, Any]]) -> None:
    verdict = mix_of({source["licence"] for source in sources})
    style = _PERMISSION_STYLES[verdict]
    console.print(Text.assemble("commercial use of all of them: ", (verdict, f"bold {style}")))
    for permission, what in (("not allowed", "forbidden by the licence of"), ("unclear", "no clear licence")):
        names = sorted({source["source"] for source in sources if source["commercial_use"] == permission})
        if names:
            console.print(Text.assemble((f"{what}: ", _PERMISSION_STYLES[permission]), printable(", ".join(names))))
