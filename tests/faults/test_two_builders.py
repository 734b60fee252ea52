"""Two builders on one home: each stage is built once, the other waits for it and says so."""

import json


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
