"""Why an artifact is not what would be built now: the cause itself is named, and only at its root."""

import subprocess
import sys

from generated_home import CONFIG

from wakeword_core.graph.project import Project
from wakeword_core.graph.status import State, status


def states(project: Project) -> dict[str, State]:
    return {state.name: state for state in status(project)}


def stale_roots(project: Project) -> dict[str, str]:
    return {name: one.because for name, one in states(project).items() if one.own_causes}


def test_everything_is_fresh_and_every_root_cause_is_named_once(home) -> None:
    assert {one.state for one in states(home.project()).values()} == {"fresh"}
    changed = home.project(training={"schedule": {"epochs": 30}}, features={"augment": {"views": 3}})
    assert stale_roots(changed) == {
        "mel_features[train]": "features.augment.views 4 → 3",
        "trained_model": "training.schedule.epochs 2 → 30; waits for mel_features[train]",
    }
    waiting = states(changed)["onnx_model"]
    assert waiting.state == "stale" and waiting.waits == "mel_features[train], trained_model"


def test_an_older_model_that_fits_again_is_fresh(home) -> None:
    assert {one.state for one in states(home.project(training={"schedule": {"epochs": 1}})).values()} == {"fresh"}


def test_recordings_that_came_changed_went_and_moved_are_counted(own_home) -> None:
    spoken = own_home.folder / "recordings" / "spoken"
    (spoken / "speaker0000" / "new.wav").write_bytes(b"new")
    (spoken / "speaker0001" / "000060.wav").write_bytes(b"changed")
    (spoken / "speaker0002" / "000120.wav").unlink()
    (spoken / "speaker0003" / "000180.wav").rename(spoken / "speaker0003" / "moved.wav")
    told = "recordings: 1 added, 1 changed, 1 removed, 1 renamed"
    assert stale_roots(own_home.project()) == {"raw_manifest": told}
    rebuilt = own_home.project()
    rebuilt.build("raw_manifest")
    # of the moved and the new one, each split knows its own part; a new name alone concerns none of them
    assert stale_roots(rebuilt) == {
        "audio_shards[train]": "raw_manifest changed (recordings: 1 added, 1 changed, 1 removed)"
    }
    assert states(rebuilt)["audio_shards[val]"].state == "fresh"


def test_a_licence_concerns_the_manifest_and_the_card_and_nothing_between(own_home) -> None:
    sources = own_home.config.model_dump(mode="json")["data"]["sources"]
    sources[2]["licence"] = "CC-BY-NC-4.0"
    project = own_home.project(data={"sources": sources})
    assert stale_roots(project) == {"raw_manifest": "data.sources.street.licence '' → 'CC-BY-NC-4.0'"}
    project.build("raw_manifest")
    assert set(stale_roots(project)) == {"model_bundle"}
    project.build("model_bundle")
    figures = project.require("model_bundle").figures
    assert figures["commercial_use"] == "not allowed" and figures["without_licence"] == []


def test_another_phrases_artifacts_are_no_older_version_of_ours(home) -> None:
    found = states(home.project(phrase="alexa", data={"sources": []}, synthesis={"enabled": True}))
    assert {one.state for one in found.values()} == {"missing"}


def test_a_gone_input_is_named(home) -> None:
    project = home.project(mining={"enabled": True})
    assert stale_roots(project)["mined_negatives"].startswith("mining.enabled false → true")


STATUS = """
import sys
from pathlib import Path
from wakeword_core.config.loading import load_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import status

config, home = map(Path, sys.argv[1:])
status(Project(load_config(config), home))
print(sorted({"dagster", "numpy", "onnx", "pandas", "pyarrow", "torch"} & sys.modules.keys()))
"""


def test_status_loads_no_large_library_where_no_recording_changed(home) -> None:
    command = [sys.executable, "-c", STATUS, str(home.folder / CONFIG), str(home.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
