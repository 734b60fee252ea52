"""Both ways through the graph, by key and by content, and as it travels in a card."""

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.graph import Edge, Graph, Node


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


def test_a_newer_artifact_with_the_same_split_stands_behind_what_was_reused() -> None:
    newer = node("raw_manifest", "m2", content="other", train="T", val="changed")
    graph = Graph([*CHAIN, newer])
    assert ids(graph.downstream(newer)) == {"s1", "o1", "r1"}
    assert ids(graph.inputs(SHARDS)) == {"m1"}  # what it was really made from
    assert ids(Graph([newer, SHARDS]).inputs(SHARDS)) == {"m2"}  # or what is left of it
    unlike = node("raw_manifest", "m3", content="other", train="changed")
    assert Graph([*CHAIN, unlike]).downstream(unlike) == []


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
