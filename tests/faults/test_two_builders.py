"""Two builders: on one home the other waits and says so; what one made elsewhere, the other goes on with."""

import json
import shutil

import pytest

from wakeword_core.recordings.forgotten import Forgotten


def test_two_processes_build_each_stage_once(trial):
    asked = ("raw_manifest", "audio_shards")
    with trial.start(*asked, wait=True) as one, trial.start(*asked, wait=True) as other:
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60) for process in (one, other)]
        assert [process.returncode for process in (one, other)] == [0, 0], told
    results = [[json.loads(line) for line in out.splitlines()] for out, _ in told]
    for first, second in zip(*results, strict=True):
        assert first["content"] == second["content"] and {first["built"], second["built"]} == {True, False}
    assert trial.build("audio_shards").damaged(read=True) == []


def test_the_one_that_waits_says_for_what(trial):
    trial.build("raw_manifest")
    with trial.start("audio_shards", pause="pack") as first:
        assert "in the middle\n" in iter(first.stdout.readline, "")
        with trial.start("audio_shards") as second:
            warning = second.stderr.readline()
            assert "another process is building audio_shards" in warning and "waiting for it" in warning
            assert second.poll() is None
            first.stdin.close()
            told = first.stdout.read().splitlines()
            assert json.loads(told[-1])["built"] is True
            out = second.communicate(timeout=60)[0]
    assert json.loads(out.splitlines()[-1])["built"] is False


def test_what_another_machine_made_is_grown_and_not_made_anew(trial):
    """A machine that pulled artifacts has no parts of its own."""
    trial.build("mel_features")
    elsewhere = trial.folder / "elsewhere"
    shutil.copytree(trial.folder / "home", elsewhere)
    for parts in elsewhere.glob("store/*.parts"):
        shutil.rmtree(parts)
    trial.record(30)
    shards, features = (trial.build(stage, "elsewhere") for stage in ("audio_shards", "mel_features"))
    assert (shards.figures["built"], shards.figures["reused"]) == (1, 2)
    assert features.figures["rows_computed"] < features.figures["rows"] / 10
    assert [trial.build(stage, "fresh").content for stage in ("audio_shards", "mel_features")] == [
        shards.content,
        features.content,
    ]


@pytest.mark.parametrize("why", ["damaged", "forgotten"])
def test_what_another_machine_made_is_left_where_it_may_be_wrong(trial, why):
    first = trial.build("audio_shards")
    shutil.rmtree(trial.folder / "home" / "store" / "audio_shards.parts")
    if why == "damaged":
        with first.file("00001.parquet").open("r+b") as file:
            file.seek(1_000)
            file.write(b"other")
    else:
        Forgotten.add_to(trial.folder / "home", ["0" * 64])
    trial.record(30)
    grown = trial.build("audio_shards")
    assert grown.figures["reused"] == 0
    assert grown.content == trial.build("audio_shards", "fresh").content
