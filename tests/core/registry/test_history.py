"""The file of the registry: replayed, only added to, whole, and honest when it is damaged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.registry.history import Entry, Registry

CONFIG = Config(phrase="hey robin")
WRITER = """
import sys
from pathlib import Path
from wakeword_core.config import Config
from wakeword_core.registry.history import Entry, Registry

for number in range(20):
    with Registry.of(Path(sys.argv[1]), Config()).changing() as registry:
        registry.adding(Entry(f"{sys.argv[2]}{number}", "candidate", "another", "gate"))
"""


def entry(key: str, decision: str, opponent: str = "") -> Entry:
    return Entry(key, decision, "because", "person", opponent, artifacts={"onnx_model": key}, figures={"frr": 0.1})


def history(*entries: Entry) -> Registry:
    return Registry(Path("x.json"), "hey robin", entries)


def test_what_is_written_is_read_and_says_who_is_champion(tmp_path: Path) -> None:
    empty = Registry.of(tmp_path, CONFIG)
    assert empty.champion is None and empty.previous is None and empty.keys == [] and empty.opponent("a") == ""
    assert not empty.path.exists() and Registry.all(tmp_path) == []
    with empty.changing() as registry:
        registry.adding(entry("a", "promoted")).adding(entry("b", "refused", "a"))
    found = Registry.of(tmp_path, CONFIG)
    assert found.history[1].figures == {"frr": 0.1} and [found.role(key) for key in found.keys] == [
        "champion",
        "refused",
    ]
    assert json.loads((tmp_path / "registry" / "hey_robin.json").read_text())["champion"] == "a"
    assert [one.path for one in Registry.all(tmp_path)] == [found.path]


def test_a_promotion_keeps_whom_a_model_is_held_against() -> None:
    before = history(entry("a", "promoted"), entry("b", "candidate", "a"))
    after = history(*before.history, entry("b", "promoted", "a"))
    assert before.opponent("b") == after.opponent("b") == "a"
    assert (before.opponent("a"), after.opponent("a"), after.opponent("new")) == ("", "b", "b")
    assert [after.role(key) for key in "ab"] == ["retired", "champion"] and after.in_use == {"a", "b"}


def test_rollbacks_go_back_one_reign_each() -> None:
    reigns = [entry("a", "promoted"), entry("b", "promoted", "a"), entry("c", "promoted", "b")]
    back = history(*reigns, entry("c", "rolled_back", "b"))
    assert back.champion and back.champion.key == "b" and back.previous and back.previous.key == "a"
    assert back.role("c") == "refused" and back.opponent("c") == "b" and back.opponent("b") == "a"
    again = history(*back.history, entry("b", "rolled_back", "a"))
    assert again.champion and again.champion.key == "a" and again.previous is None
    newer = history(*back.history, entry("d", "promoted", "b"))
    assert newer.previous and newer.previous.key == "b"


def test_what_was_removed_reigns_no_more() -> None:
    found = history(entry("a", "promoted"), entry("b", "promoted", "a"), entry("b", "removed"))
    assert found.champion and found.champion.key == "a" and found.role("b") == "removed" and found.in_use == {"a"}
    assert history(*found.history, entry("a", "removed")).champion is None


def test_nobody_is_rolled_back_to_themselves_when_who_reigned_between_was_removed() -> None:
    reigns = [entry("a", "promoted"), entry("b", "promoted", "a"), entry("a", "promoted", "b")]
    found = history(*reigns, entry("b", "removed"))
    assert found.champion and found.champion.key == "a" and found.previous is None


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["promoted", "refused", "candidate", "removed"]))))
@settings(deadline=None, max_examples=80)
def test_whatever_happens_there_is_one_champion_at_most_and_nobody_is_their_own_opponent(steps) -> None:
    registry = history()
    for key, decision in steps:
        champion = registry.champion
        if decision == "promoted" and champion and champion.key == key:
            continue
        opponent = champion.key if champion else ""
        registry = history(*registry.history, entry(key, decision, opponent))
    roles = [registry.role(key) for key in registry.keys]
    assert roles.count("champion") <= 1 and (roles.count("champion") == 1) == (registry.champion is not None)
    assert all(registry.opponent(key) != key for key in registry.keys)


def test_several_processes_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, name]) for name in ("x", "y")]
    assert [one.wait(120) for one in writers] == [0, 0]
    keys = Registry.of(tmp_path, Config()).keys
    assert sorted(keys) == sorted(f"{name}{number}" for name in "xy" for number in range(20))
    assert [path.name for path in (tmp_path / "registry").glob("[!.]*")] == ["hey_robin.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: "",
        lambda tree: "[]",
        lambda tree: json.dumps({**tree, "champion": "nobody"}),
        lambda tree: json.dumps({**tree, "history": [{**tree["history"][0], "decision": "crowned"}]}),
        lambda tree: json.dumps({**tree, "history": [{"key": "a"}]}),
        lambda tree: json.dumps({**tree, "history": [{**tree["history"][0], "artifacts": None}]}),
        lambda tree: json.dumps({**tree, "history": [{**tree["history"][0], "of a later version": 1}]}),
        lambda tree: json.dumps({**tree, "history": [{**tree["history"][0], "decision": "rolled_back"}]}),
    ],
)
def test_a_damaged_file_is_a_clear_error_and_is_never_written_over(tmp_path: Path, damage) -> None:
    with Registry.of(tmp_path, CONFIG).changing() as registry:
        path = registry.adding(entry("a", "promoted")).path
    text = damage(json.loads(path.read_text()))
    path.write_text(text)
    with pytest.raises(
        DataError, match=r"hey_robin.json, which says which model is champion, cannot be read .* backup"
    ):
        Registry.of(tmp_path, CONFIG)
    assert path.read_text() == text


def test_phrases_that_have_one_name_have_each_their_own_registry(tmp_path: Path) -> None:
    paths = {
        Registry.of(tmp_path, Config(phrase=phrase)).path for phrase in ("привет", "алиса", "hey robin", "hey-robin")
    }
    assert len(paths) == 4 and Registry.of(tmp_path, CONFIG).path.name == "hey_robin.json"
