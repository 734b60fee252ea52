"""Training that goes on from the champion: what it starts from, and that nothing is built again because of that."""

import hashlib
import logging
import random
import shutil
from dataclasses import replace
from itertools import count

import pytest
from rivals import RivalProject, Rivals

from wakeword_core.errors import ConfigError
from wakeword_core.graph.promotion import decide, promote, rollback
from wakeword_core.graph.status import status
from wakeword_core.lineage.recordings import recordings_behind
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.stage_names import MODEL
from wakeword_core.store.graph import Graph

TRAINED = "trained_model"
UNTRAINED = 1
MANUAL = {"registry": {"promote": "manual"}}
_numbers = count(1_000)


def project(rivals: Rivals, epochs: int = 100, **changes) -> RivalProject:
    made = rivals.project(epochs, **changes)
    return replace(made, config=made.config.changed({"training.start_from": "champion"}))


def build(rivals: Rivals, epochs: int = 100, **changes) -> RivalProject:
    """Everything, and the gate's decision."""
    built = project(rivals, epochs, **changes)
    for name, stage in built.stages.items():
        for split in stage.splits:
            built.build(name, split)
    decide(built)
    return built


def record(rivals: Rivals) -> None:
    number = next(_numbers)
    (rivals.folder / "recordings" / "speaker0" / f"{number}.wav").write_bytes(b"recording %d" % number)


def states(rivals: Rivals, epochs: int = 100, **changes) -> dict[str, str]:
    """What is not fresh, and why."""
    found = status(project(rivals, epochs, **changes))
    return {state.name: state.because for state in found if state.state != "fresh"}


def start_of(built: RivalProject) -> str:
    """The key of what the training went on from; empty for random weights."""
    inputs = built.require(TRAINED).inputs
    return next((source["key"] for name, source in inputs.items() if name.endswith("[start]")), "")


def as_trained(built: RivalProject) -> str:
    return built.require("calibrated_model").key


def champion(rivals: Rivals) -> str:
    entry = project(rivals).registry().champion
    assert entry is not None
    return entry.key


def test_a_champion_is_gone_on_from_once_for_new_recordings_and_never_for_itself(
    rivals: Rivals, checked, caplog
) -> None:
    caplog.set_level(logging.INFO)
    first = build(rivals)
    assert start_of(first) == "" and "no champion to start from: trained_model begins with random" in caplog.text
    assert champion(rivals) == first.require(MODEL).key and states(rivals) == {}
    assert rivals.project().require(TRAINED).key == first.require(TRAINED).key, "as if nothing were named"

    record(rivals)
    assert TRAINED in states(rivals)
    second = build(rivals)
    assert start_of(second) == as_trained(first) and champion(rivals) == second.require(MODEL).key
    assert states(rivals) == {}
    assert build(rivals).require(MODEL).key == second.require(MODEL).key and states(rivals) == {}

    record(rivals)
    third = build(rivals)
    assert start_of(third) == as_trained(second) and states(rivals) == {}
    rollback(project(rivals), "it barks")
    assert champion(rivals) == second.require(MODEL).key and states(rivals) == {}


def test_who_is_refused_leaves_the_start_as_it_is(rivals: Rivals, checked) -> None:
    first = build(rivals)
    bad = build(rivals, UNTRAINED)
    assert start_of(bad) == as_trained(first) and champion(rivals) == first.require(MODEL).key
    assert states(rivals, UNTRAINED) == {} and states(rivals) == {}
    record(rivals)
    assert start_of(build(rivals)) == as_trained(first)


def test_a_candidate_that_a_person_promotes_is_fresh_as_champion(rivals: Rivals, checked) -> None:
    first = build(rivals)
    record(rivals)
    second = build(rivals, **MANUAL)
    assert champion(rivals) == first.require(MODEL).key and states(rivals, **MANUAL) == {}
    promote(project(rivals), second.require(MODEL).key, "", force=False)
    assert champion(rivals) == second.require(MODEL).key and states(rivals, **MANUAL) == {}


def test_nothing_goes_on_from_a_champion_that_was_made_from_what_is_forgotten(rivals: Rivals, checked) -> None:
    first = build(rivals)
    record(rivals)
    graph = Graph.of_store(first.store)
    behind = recordings_behind(graph, graph.nodes[MODEL, champion(rivals)], first.store.root)["recording_id"]
    Forgotten.add_to(first.home, [hashlib.sha256(b"somebody else").hexdigest()], (), "asked")
    assert project(rivals).models.champion_to_start_from() == champion(rivals)
    Forgotten.add_to(first.home, [behind.iloc[0]], (), "asked")
    second = build(rivals)
    assert start_of(second) == "" and champion(rivals) == second.require(MODEL).key and states(rivals) == {}
    record(rivals)
    assert start_of(build(rivals)) == as_trained(second)


def test_another_champion_in_the_midst_of_a_build_is_for_the_next_one(rivals: Rivals, checked) -> None:
    first = build(rivals)
    other = rivals.build(seed=2, **MANUAL)
    decide(other)
    record(rivals)
    going = project(rivals)
    going.pinned_champion = going.models.champion_to_start_from()
    for stage in going.stages.values():
        if stage.name == "calibrated_model":
            promote(going, other.require(MODEL).key, "", force=True)
        for split in stage.splits:
            going.build(stage.name, split)
    assert start_of(going) == as_trained(first)
    assert "calibrated_model[start] changed" in states(rivals)[TRAINED]
    assert start_of(build(rivals)) == as_trained(other)


def test_a_champion_whose_files_are_gone_is_said(rivals: Rivals, checked) -> None:
    first = build(rivals)
    shutil.rmtree(first.require(MODEL).path)
    with pytest.raises(ConfigError, match=rf"the files of the champion {first.registry().champion.key} are gone"):
        project(rivals).build("raw_manifest")


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_a_build_leaves_nothing_to_build(rivals: Rivals, checked, seed: int) -> None:
    generator = random.Random(seed)
    build(rivals)
    for _ in range(4):
        what = generator.choice(["record", "record", "refused", "back", "again"])
        if what == "back" and project(rivals).registry().previous:
            rollback(project(rivals), "")
        if what == "record":
            record(rivals)
        epochs = UNTRAINED if what == "refused" else 100
        made = build(rivals, epochs)
        assert states(rivals, epochs) == {}, what
        assert start_of(made) != as_trained(made)
