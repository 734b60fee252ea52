"""Searches of a graph that costs nothing: what they find, share, prune and let go of, and how they are gone on with."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cheap_graph
import pytest
from cheap_graph import GRAPH, SPACE, builds, cheap_project

from wakeword_core.config.loading import load_config
from wakeword_core.errors import MissingDependencyError, WakewordError
from wakeword_core.evaluation.measure import plots
from wakeword_core.graph.project import Project
from wakeword_core.store.cleaning import garbage
from wakeword_pipeline.orchestration.faults import fault_in_words
from wakeword_pipeline.search.needed import needed_by_searches
from wakeword_pipeline.search.results import PICTURE, configuration
from wakeword_pipeline.search.trials import folder_of, search
from wakeword_pipeline.tracking.training_runs import PARENT_TAG, MlflowResource

pytestmark = pytest.mark.slow
RATE = "training.schedule.learning_rate"
CHANNELS = {"training.model.channels": {"low": 8, "high": 64, "step": 8}}


@pytest.fixture
def home_with_pictures(tmp_path: Path, empty_store: Path) -> Path:
    """A home with MLflow's database, which takes a second to make."""
    (tmp_path / "home").mkdir()
    shutil.copyfile(empty_store, tmp_path / "home" / "mlflow.db")
    return tmp_path / "home"


@pytest.fixture
def home(home_with_pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for tests that look at no picture, of which each takes as long as a trial."""
    monkeypatch.setattr(plots, "trials_picture", lambda *given: b"")
    return home_with_pictures


def runs_of(home: Path) -> dict[str, Any]:
    """The runs in MLflow by their names."""
    client = MlflowResource(home=str(home)).client()
    experiment = client.get_experiment_by_name("wakeword").experiment_id
    return {run.info.run_name: run for run in client.search_runs([experiment])}


def test_the_known_best_is_found_features_are_built_once_and_the_test_never(home_with_pictures: Path) -> None:
    home = home_with_pictures
    asked = {"random_trials": 5, "pruning": {"enabled": False}}
    project = cheap_project(home, trials=10, **asked)
    found = search(project)
    assert [row.number for row in found.rows] == list(range(10)) and found.count("finished") == 10
    best = found.best
    assert best is not None and abs(math.log10(best.values[RATE]) + 2) < 0.3
    assert best.figures["misses"] == min(row.figures["misses"] for row in found.rows)
    assert Counter(line for line in builds(home) if "features" in line) == {"features train": 1, "features val": 1}
    assert {(one.stage, one.config.get("split")) for one in project.store.all()} == {
        *((stage, split) for stage in ("audio_shards", "mel_features") for split in ("train", "val")),
        *((stage, None) for stage in ("trained_model", "calibrated_model")),
    }

    runs = runs_of(home)
    whole = runs.pop(found.name)
    assert whole.info.status == "FINISHED" and whole.data.metrics["best_misses"] == best.figures["misses"]
    assert {name: run.data.tags[PARENT_TAG] for name, run in runs.items()} == {
        f"trial {row.number}": whole.info.run_id for row in found.rows
    }
    mine = runs[f"trial {best.number}"]
    assert mine.info.status == "FINISHED" and float(mine.data.params[RATE]) == best.values[RATE]
    assert mine.data.metrics["misses"] == best.figures["misses"] and "val_score" in mine.data.metrics

    folder = folder_of(home, found.name)
    written = Project(load_config(configuration(folder, best.number)), home, graph=GRAPH)
    again = written.require("calibrated_model")  # under the key that this configuration has
    assert again.figures["val_frr"] == best.figures["misses"] and written.config.search.space == {}
    assert [path.name for path in folder.glob("*.yaml")] == [f"trial-{best.number}.yaml"]
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")

    before = builds(home)
    assert search(cheap_project(home, trials=10, **asked)) == found
    assert builds(home) == before
    more = search(cheap_project(home, trials=11, **asked))
    assert more.name == found.name and more.rows[:10] == found.rows and len(more.rows) == 11


def test_the_same_seed_tries_the_same_and_another_search_begins_anew(home: Path, tmp_path: Path, empty_store) -> None:
    first = search(cheap_project(home, trials=3))
    (tmp_path / "other").mkdir()
    shutil.copyfile(empty_store, tmp_path / "other" / "mlflow.db")
    assert search(cheap_project(tmp_path / "other", trials=3)) == first
    narrower = {RATE: {"low": 1e-3, "high": 0.1, "log": True}}
    other = search(cheap_project(home, trials=2, space=narrower))
    assert other.name != first.name and len(other.rows) == 2
    assert all(1e-3 <= row.values[RATE] <= 0.1 for row in other.rows)


def test_a_training_that_learns_less_than_others_is_ended_early(home: Path) -> None:
    space = {RATE: [0.01, 0.02, 0.0001]}
    pruning = {"after_trials": 2, "after_epochs": 2}
    found = search(cheap_project(home, trials=8, sampler="random", space=space, pruning=pruning))
    pruned = [row for row in found.rows if row.state == "pruned"]
    assert pruned and {row.values[RATE] for row in pruned} == {0.0001}
    assert pruned[0].epochs == 2 and not any(row.best or row.figures for row in pruned)
    assert runs_of(home)[f"trial {pruned[0].number}"].info.status == "KILLED"
    assert found.best is not None and found.best.values[RATE] == 0.01
    assert f"after epoch {pruned[0].epochs}, where it had learnt less than others" in str(pruned[0])


def test_several_objectives_have_several_best_trials_and_prune_nothing(home_with_pictures: Path) -> None:
    home = home_with_pictures
    settings = {"objectives": ["misses", "cpu", "bytes"], "sampler": "nsga2", "space": {**SPACE, **CHANNELS}}
    found = search(cheap_project(home, trials=6, random_trials=3, pruning={"after_trials": 1}, **settings))
    assert found.count("finished") == 6
    for row in found.rows:
        worse = [
            other
            for other in found.rows
            if all(other.figures[name] <= row.figures[name] for name in found.objectives)
            and other.figures != row.figures
        ]
        assert row.best == (not worse)
        assert row.figures["cpu"] == row.values["training.model.channels"] / 8 == row.figures["bytes"] / 8
    written = {path.stem for path in folder_of(home, found.name).glob("*.yaml")}
    assert written == {f"trial-{row.number}" for row in found.front} and len(written) < 6
    assert [row.figures["misses"] for row in found.front] == sorted(row.figures["misses"] for row in found.front)


def test_a_model_that_no_threshold_keeps_quiet_misses_everything(home: Path) -> None:
    found = search(cheap_project(home, trials=2, space={RATE: [0.0001, 0.00011]}))
    assert {row.figures["misses"] for row in found.rows} == {1.0}


def test_what_losing_trials_made_may_go_and_the_best_stays(home: Path) -> None:
    project = cheap_project(home, trials=3, space={RATE: [0.01, 0.2, 0.3]}, sampler="random")
    found = search(project)
    kept = needed_by_searches(home)
    best = Project(load_config(configuration(folder_of(home, found.name), found.front[0].number)), home, graph=GRAPH)
    assert kept == {
        *(("audio_shards", best.expected_key("audio_shards", split)) for split in ("train", "val")),
        *(("mel_features", best.expected_key("mel_features", split)) for split in ("train", "val")),
        *((name, best.expected_key(name)) for name in ("trained_model", "calibrated_model")),
    }
    gone = {path for item in garbage(project.store, kept, kept) for path in item.paths}
    lost = [one.path for one in project.store.all("trained_model") if one.key != best.expected_key("trained_model")]
    assert lost and set(lost) <= gone and best.require("trained_model").path not in gone
    (folder_of(home, found.name) / "trials" / "77.json").write_text('[["..", "x"]]')
    with pytest.raises(WakewordError, match=r"77\.json, which names what a trial needs, cannot be read"):
        needed_by_searches(home)


def test_trials_that_fail_are_told_and_a_search_in_which_all_do_ends(home: Path) -> None:
    found = search(cheap_project(home, trials=5, sampler="random", space={RATE: [0.01, 0.95]}))
    failed = [row for row in found.rows if row.state == "failed"]
    assert failed and {row.problem for row in failed} == {"the rate is too high"} and found.best is not None
    assert runs_of(home)[f"trial {failed[0].number}"].info.status == "FAILED"
    with pytest.raises(WakewordError, match="3 trials in a row failed; the last one: the rate is too high"):
        search(cheap_project(home, trials=9, space={RATE: [0.95, 0.96]}))


def test_trials_of_other_validation_recordings_are_not_compared(home: Path) -> None:
    project = cheap_project(home, trials=4, sampler="random", space={"data.splits.val_fraction": [0.1, 0.2]})
    found = search(project)
    first = found.rows[0].values
    assert {row.state for row in found.rows if row.values == first} == {"finished"}
    others = [row for row in found.rows if row.values != first]
    assert others and all("other recordings than that of the first trial" in row.problem for row in others)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_trial_that_is_stopped_is_gone_on_with(
    home: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    def stop(run: object, record: Any) -> None:
        if record.epoch == 3:
            raise end

    with monkeypatch.context() as patch, pytest.raises(type(end)):
        patch.setattr(cheap_graph, "after_epoch", stop)
        search(cheap_project(home, trials=2))
    kept = needed_by_searches(home)
    assert any(stage == "trained_model" for stage, _ in kept)
    found = search(cheap_project(home, trials=2))
    assert [row.number for row in found.rows] == [1, 2] and found.count("finished") == 2
    assert set(Counter(line for line in builds(home) if line.startswith("epoch")).values()) == {4}
    runs = runs_of(home)
    assert set(runs) == {found.name, "trial 1", "trial 2"}
    client = MlflowResource(home=str(home)).client()
    assert [one.step for one in client.get_metric_history(runs["trial 1"].info.run_id, "val_loss")] == [1, 2, 4, 3]


def start(home: Path, pause_at: int, **search: Any) -> subprocess.Popen[str]:
    """Another process that searches as soon as it is told to; it waits after so many epochs of all processes."""
    packages = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, cheap_graph.__file__, str(home), str(pause_at), json.dumps(search)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": packages, "OMP_NUM_THREADS": "1"},
    )


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_a_killed_trial_is_taken_up_where_it_was(home: Path) -> None:
    pruning = {"enabled": False}
    with start(home, 6, trials=3, pruning=pruning) as process:
        assert process.stdout is not None
        tell(process)
        assert "in the middle\n" in iter(process.stdout.readline, "")
        process.kill()
    left = needed_by_searches(home)
    assert len({key for stage, key in left if stage == "trained_model"}) == 2  # of the best so far, and the killed one
    found = search(cheap_project(home, trials=3, pruning=pruning))
    assert [row.number for row in found.rows] == [0, 2, 3] and found.count("finished") == 3
    epochs = Counter(line for line in builds(home) if line.startswith("epoch"))
    assert len(epochs) == 3 and set(epochs.values()) == {4}  # none was trained again
    assert len({key for stage, key in needed_by_searches(home) if stage == "trained_model"}) == 1


def test_two_processes_share_one_search(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"trials": 7, "pruning": {"enabled": False}}
    with start(home, -1, **asked) as other:

        def wait_for_the_other(run: object, record: Any) -> None:
            """So that both train at the same time."""
            while len({line for line in builds(home) if line.startswith("epoch")}) == 1:
                assert other.poll() is None
                time.sleep(0.05)

        monkeypatch.setattr(cheap_graph, "after_epoch", wait_for_the_other)
        tell(other)
        search(cheap_project(home, **asked))
        told = other.communicate(timeout=300)
        assert other.returncode == 0, told
    found = search(cheap_project(home, **asked))
    assert found.count("finished") == 7 == len({row.values[RATE] for row in found.rows})
    assert Counter(line for line in builds(home) if "features" in line) == {"features train": 1, "features val": 1}
    assert len(runs_of(home)) == 8


def test_a_damaged_database_of_trials_is_named_with_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "search.db").write_bytes(b"x" * 5_000)
    monkeypatch.setenv("WAKEWORD_HOME", str(home))
    with pytest.raises(Exception) as caught:
        search(cheap_project(home))
    said = f"{home / 'search.db'}, in which searches keep their trials, is damaged"
    assert fault_in_words(caught.value).startswith(said)


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_each_sampler_works(home: Path, sampler: str) -> None:
    found = search(cheap_project(home, trials=4, random_trials=2, sampler=sampler))
    assert len({row.values[RATE] for row in found.rows}) == 4


def test_without_optuna_it_is_said_how_to_install_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"a search needs Optuna: .*pip install.*search"):
        search(cheap_project(home))
    assert not (home / "search.db").exists()
