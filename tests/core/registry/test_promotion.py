"""From build to champion and back, with models that are heard for real: good, as good, and worse on purpose."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rivals import DEAF_STEPS, RivalProject, Rivals

from wakeword_core.errors import WakewordError
from wakeword_core.files import read_json, write_json
from wakeword_core.graph.promotion import decide, promote, remove_deleted, rollback
from wakeword_core.graph.stage import Verdict
from wakeword_core.graph.stages import comparison
from wakeword_core.graph.stages.comparison import FILE, PICTURE
from wakeword_core.graph.status import status
from wakeword_core.stage_names import COMPARISON, MODEL
from wakeword_core.store.artifacts import CARD

UNTRAINED = 1
MANUAL = {"registry": {"promote": "manual"}}


def key(project: RivalProject) -> str:
    return project.require(MODEL).key


def rot(path: Path) -> None:
    """Change a file as a disk does: nothing else tells of it."""
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def states(project: RivalProject) -> set[str]:
    return {state.state for state in status(project)}


def test_the_first_model_is_champion_and_an_untrained_one_is_refused(rivals_with_pictures: Rivals, checked) -> None:
    rivals = rivals_with_pictures
    first = rivals.build()
    entry = decide(first)
    assert (entry.decision, entry.opponent, entry.by, entry.cleared) == ("promoted", "", "gate", True)
    assert entry.artifacts["model_bundle"] == first.require("model_bundle").key and entry.figures["frr"] == 0.1
    assert not (first.require(COMPARISON).path / PICTURE).exists() and states(rivals.project()) == {"fresh"}

    bad = rivals.build(UNTRAINED)
    refused = decide(bad)
    assert (refused.decision, refused.opponent) == ("refused", key(first))
    assert refused.reason.startswith(f"worse than the champion {key(first)}: missed at 0.5 false alarms an hour 100 %")
    assert bad.registry().champion == entry and states(rivals.project(UNTRAINED)) == {"fresh"}
    comparison = bad.require(COMPARISON)
    assert comparison.inputs["champion"]["key"] == key(first) and comparison.file(PICTURE).stat().st_size > 5_000
    found = read_json(comparison.file(FILE))
    assert found["recordings"] == 24 and found["words"] == 48 and not found["at_target"]["candidate"]["reachable"]
    assert decide(rivals.project(UNTRAINED)) == refused and len(bad.registry().history) == 2


def test_what_ships_is_compared_a_model_with_its_judge(rivals: Rivals, checked, caplog) -> None:
    judged, deaf = ({"judge": {"enabled": True, "head": {"steps": steps}}} for steps in (400, DEAF_STEPS))
    first = rivals.build(**judged)
    assert decide(first).decision == "promoted"
    worse = rivals.build(seed=2, **deaf)
    refused = decide(worse)
    assert refused.decision == "refused" and "100 %" in refused.reason
    assert {"judged_model", "onnx_model"} <= worse.require(COMPARISON).inputs.keys()
    assert decide(rivals.build(seed=3, **judged)).decision == "promoted"

    # a champion whose judge is gone is heard alone, and that is said
    shutil.rmtree(rivals.project(seed=3, **judged).require("judged_model").path)
    rivals.build(seed=4, **judged)
    assert "of the champion is gone or damaged" in caplog.text


def test_a_promoted_model_stays_compared_with_whom_it_took_over_from(rivals: Rivals, checked) -> None:
    first = rivals.crown()
    second = rivals.build(seed=2)
    before = second.require(COMPARISON)
    entry = decide(second)
    assert entry.decision == "promoted" and entry.reason.startswith("not shown to be worse than the champion")
    assert "an excess of fewer than 5 of 24 recordings could not show" in entry.reason
    again = rivals.build(seed=2)
    assert rivals.built == [] and again.require(COMPARISON).key == before.key and decide(again) == entry
    assert states(again) == {"fresh"} and len(again.registry().history) == 2
    stale = [state for state in status(rivals.project()) if state.state != "fresh"]
    assert [state.name for state in stale] == [COMPARISON] and "champion changed" in stale[0].because
    assert first.registry().role(key(first)) == "retired"


def test_a_model_is_compared_again_when_another_build_changes_the_champion_meanwhile(
    rivals: Rivals, checked, monkeypatch
) -> None:
    project = rivals.build(seed=2, compared=False)
    crowned, compared_with = [], []

    def make(run) -> None:
        if len(crowned) < 2:
            crowned.append(rivals.crown(seed=3 + len(crowned)))  # the first, and one that takes over from it
        comparison.STAGE.make(run)
        compared_with.append(run.figures["opponent"])

    stages = {**project.stages, COMPARISON: replace(comparison.STAGE, make=make)}
    monkeypatch.setattr(RivalProject, "stages", property(lambda self: stages))
    found, built = project.build(COMPARISON)
    assert compared_with == ["", *map(key, crowned)] and built
    assert found == project.require(COMPARISON) and project.verdicts(COMPARISON)[0].passed
    entry = decide(project)
    assert (entry.decision, entry.opponent) == ("promoted", key(crowned[1]))
    assert entry.reason.startswith("not shown to be worse than the champion")


def test_a_rollback_is_final_until_a_person_says_otherwise(rivals: Rivals, checked) -> None:
    first, second = rivals.crown(), rivals.crown(seed=2)
    rivals.build(seed=2)
    again, refused = rollback(second, "it wakes the dog")
    assert again.key == key(first) and refused.reason.startswith("it wakes the dog")
    rebuilt = rivals.build(seed=2)
    assert rivals.built == [] and decide(rebuilt).decision == "rolled_back" and states(rebuilt) == {"fresh"}
    assert rebuilt.registry().champion == again and rebuilt.registry().role(key(second)) == "refused"
    with pytest.raises(WakewordError, match=r"was rolled back \(it wakes the dog.*--force"):
        promote(rebuilt, key(second)[:8], "", force=False)
    assert promote(rebuilt, key(second)[:8], "the dog moved out", force=True).key == key(second)
    assert rollback(rebuilt, "")[0].key == key(first)
    with pytest.raises(WakewordError, match="the only champion that is left"):
        rollback(rebuilt, "")


def test_a_failed_check_refuses_a_damaged_file_is_set_aside_and_a_warning_does_nothing(rivals: Rivals, checked) -> None:
    project = rivals.build()
    checked(cmvn_stats=Verdict(False, "worst variance off by 0.3"))
    entry = decide(project)
    assert (entry.decision, entry.reason) == ("refused", "check_of_cmvn_stats of cmvn_stats: worst variance off by 0.3")
    checked(int8_model=Verdict(False, "a little large", severity="warning"))
    bundle = project.require("model_bundle").file("made.txt")
    rot(bundle)
    with pytest.raises(WakewordError, match="model_bundle changed on disk and is set aside; run again to build it"):
        decide(rivals.project())
    assert project.registry().champion is None and not bundle.exists()
    assert decide(rivals.build()).decision == "promoted" and len(project.registry().history) == 2


def test_promotion_by_hand_waits_for_the_hand(rivals: Rivals, checked) -> None:
    first = rivals.build(**MANUAL)
    assert decide(first).decision == "candidate" and first.registry().champion is None
    bundle = first.require("model_bundle")
    content = bundle.file("made.txt").read_bytes()
    bundle.file("made.txt").write_bytes(content + b"edited")
    with pytest.raises(WakewordError, match=r"model_bundle .* is damaged \(made.txt\); nothing was changed"):
        promote(first, key(first), "", force=False)
    bundle.file("made.txt").write_bytes(content)
    assert promote(first, bundle.key, "", force=False).opponent == ""
    bad = rivals.build(UNTRAINED, **MANUAL)
    decide(bad)
    with pytest.raises(WakewordError, match=r"is refused: worse than .* promote it all the same with --force"):
        promote(bad, key(bad), "", force=False)
    assert "against the gate: worse than" in promote(bad, key(bad), "a demo", force=True).reason
    for wanted, message in ((key(bad), "is champion already"), ("ffff0000", "is no model"), ("", "is no model")):
        with pytest.raises(WakewordError, match=message):
            promote(bad, wanted, "", force=False)
    with pytest.raises(WakewordError, match="held against nobody, not against the champion"):
        with bad.registry().changing() as registry:
            registry.adding(replace(registry.history[0], key="0" * 20))
        other = shutil.copytree(first.require(MODEL).path, bad.store.root / MODEL / ("0" * 20))
        card = read_json(other / CARD)
        write_json(other / CARD, {**{name: card[name] for name in card if name != "seal"}, "key": "0" * 20})
        promote(bad, "0" * 20, "", force=False)


def test_a_champion_that_cannot_be_heard_leaves_it_to_a_person(rivals: Rivals, checked) -> None:
    first = rivals.crown()
    other = rivals.build(seed=2, data={"sources": rivals.sources, "audio": {"sample_rate": 8_000}}, features={
        "frontend": {"n_mels": 16, "window_frames": 41, "f_max": 4_000}})  # fmt: skip
    entry = decide(other)
    assert entry.decision == "candidate" and "it hears audio at 16,000 Hz, and the test is at 8,000 Hz" in entry.reason
    assert not entry.cleared and other.registry().champion and other.registry().champion.key == key(first)


def test_files_of_champions_that_are_gone_are_an_error_and_no_champion(rivals: Rivals, checked) -> None:
    first, second = rivals.crown(), rivals.crown(seed=2)
    first.require(MODEL).path.rename(rivals.folder / "gone")
    with pytest.raises(WakewordError, match="are gone or damaged; nothing was changed"):
        rollback(second, "")
    assert [one.decision for one in remove_deleted(rivals.home, {key(first), "f" * 20}, "asked")] == ["removed"]
    with pytest.raises(WakewordError, match="the only champion that is left"):
        rollback(second, "")
    file = second.require(MODEL).file("model.onnx")
    content = file.read_bytes()
    rot(file)
    with pytest.raises(WakewordError, match=r"champion .* are damaged.*wakeword rollback"):
        rivals.build(seed=3)
    file.write_bytes(content)
    second.require(MODEL).path.rename(rivals.folder / "gone too")
    third = rivals.build(seed=3)
    entry = decide(third)
    assert entry.decision == "candidate" and "whose files are gone or damaged" in entry.reason


def test_there_is_nobody_to_go_back_to_at_first(rivals: Rivals) -> None:
    with pytest.raises(WakewordError, match="has no champion that could be rolled back"):
        rollback(rivals.project(), "")
