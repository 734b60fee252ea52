"""Both ways through the graph, by key and by content, and as it travels in a card."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.errors import ArtifactError
from wakeword_core.store.graph import Edge, Graph, Node


def node(stage: str, key: str, *inputs: Node, content: str = "", split: str | None = None, **facets: str) -> Node:
    edges = tuple(
        Edge(one.name, one.stage, one.key, (one.facets or {}).get(split or "", one.content)) for one in inputs
    )
    return Node(stage, key, split, content or f"content of {key}", facets, key, "1", edges)


MANIFEST = node("raw_manifest", "m1", train="T", val="V")
SHARDS = node("audio_shards", "s1", MANIFEST, split="train")
MODEL = node("model", "o1", SHARDS)
REPORT = node("report", "r1", MODEL, SHARDS, MANIFEST)
CHAIN = [MANIFEST, SHARDS, MODEL, REPORT]


def ids(nodes: list[Node]) -> set[str]:
    return {one.key for one in nodes}


def test_everything_behind_and_everything_that_came_of_it() -> None:
    graph = Graph(CHAIN)
    assert ids(graph.upstream(REPORT)) == {"m1", "s1", "o1"} and ids(graph.downstream(MANIFEST)) == {"s1", "o1", "r1"}
    assert graph.upstream(MANIFEST) == [] and graph.downstream(REPORT) == []


def test_an_input_behind_another_input_is_not_a_direct_one() -> None:
    graph = Graph(CHAIN)
    assert ids(graph.direct_inputs(REPORT)) == {"o1"} and ids(graph.inputs(REPORT)) == {"m1", "s1", "o1"}
    assert ids(graph.direct_consumers(MANIFEST)) == {"s1"} and ids(graph.consumers(MANIFEST)) == {"s1", "r1"}


def test_a_newer_artifact_with_the_same_split_stands_in_for_one_that_is_gone() -> None:
    newer = node("raw_manifest", "m2", content="other", train="T", val="changed")
    newest = node("raw_manifest", "m3", content="third", train="T", val="changed")
    unlike = node("raw_manifest", "m4", content="other", train="changed")
    graph = Graph([*CHAIN, newer])
    assert ids(graph.inputs(SHARDS)) == {"m1"} and graph.downstream(newer) == []  # as it was really made
    left = Graph([newest, newer, unlike, SHARDS, MODEL])
    assert ids(left.inputs(SHARDS)) == {"m3"} and ids(left.downstream(newest)) == {"s1", "o1"}
    assert left.downstream(newer) == left.downstream(unlike) == []


@given(st.lists(st.tuples(st.sets(st.integers(0, 9)), st.booleans()), max_size=10))
@settings(deadline=None)
def test_consumers_are_those_it_is_an_input_of(made: list[tuple[set[int], bool]]) -> None:
    nodes: list[Node] = []
    for place, (sources, _) in enumerate(made):
        behind = [nodes[one] for one in sorted(sources) if one < place]
        nodes.append(node("stage", str(place), *behind, content=f"content {place % 3}"))
    graph = Graph(one for one, (_, kept) in zip(nodes, made, strict=True) if kept)
    ways = {(one.id, source.id) for one in graph.nodes.values() for source in graph.inputs(one)}
    here = {(one.id, source.id) for source in graph.nodes.values() for one in graph.consumers(source)}
    assert here == {way for way in ways if way[1] in graph.nodes}


def test_several_starts_are_not_told_themselves() -> None:
    graph = Graph(CHAIN)
    assert ids(graph.upstream(REPORT, SHARDS)) == {"m1", "o1"} and graph.upstream() == []
    assert graph.known([SHARDS.id, ("audio_shards", "gone")]) == [SHARDS]


def test_what_is_gone_appears_by_its_key() -> None:
    graph = Graph([MODEL])
    assert graph.inputs(MODEL) == [Node("audio_shards", "s1", "train")]


def test_a_card_tells_the_same_graph() -> None:
    told = Graph(Node.from_json(one.to_json()) for one in CHAIN)
    report = told.nodes[REPORT.id]
    assert ids(told.upstream(report)) == {"m1", "s1", "o1"} and told.nodes[SHARDS.id].name == "audio_shards[train]"
    with pytest.raises(ArtifactError, match="cannot be read"):
        Node.from_json({"name": "model", "key": "x", "created": "", "code_version": "1", "inputs": ["a"]})


def test_a_circle_in_a_damaged_card_ends() -> None:
    entries = [("a", "1", {"b": "2"}), ("b", "2", {"a": "1"})]
    base = {"created": "", "code_version": ""}
    graph = Graph(Node.from_json({"name": n, "key": k, "inputs": i, **base}) for n, k, i in entries)
    first = graph.nodes["a", "1"]
    assert ids(graph.upstream(first)) == {"2"} and ids(graph.downstream(first)) == {"2"}


def test_a_key_in_a_model_card_never_leads_out_of_the_store() -> None:
    tree = {"name": "raw_manifest", "key": "a" * 20, "created": "", "code_version": "1", "inputs": {}}
    assert Node.from_json(tree).key == "a" * 20
    odd = [{**tree, "key": key} for key in ("../../../../evil", "/etc", "..", ".", "a/b", 7, None, "\x1b[2J")]
    odd += [{**tree, "inputs": inputs} for inputs in ([], {"raw_audio": "../.."}, {"..": "a"}, {"a": None}, 7)]
    odd += [{**tree, "inputs": {f"stage{number}": "a" for number in range(1_000)}}, {}, [], None, "raw_manifest"]
    for entry in odd:
        with pytest.raises(ArtifactError, match="an entry of the lineage in the model's card cannot be read"):
            Node.from_json(entry)


def test_a_wide_or_circular_graph_is_walked_to_its_end() -> None:
    layers, width = 40, 20
    nodes = [
        Node(
            f"l{layer}",
            str(number),
            inputs=tuple(Edge(f"l{layer - 1}", f"l{layer - 1}", str(other), "") for other in range(width)),
        )
        for layer in range(layers)
        for number in range(width)
    ]
    last = nodes[-1]
    graph = Graph(nodes)
    assert len(graph.direct_inputs(last)) == width and len(graph.upstream(last)) == layers * width
    nodes[0] = Node("l0", "0", inputs=(Edge(last.stage, last.stage, last.key, ""),))
    graph = Graph(nodes)
    assert graph.direct_inputs(last) == [] and len(graph.upstream(last)) >= layers * width
