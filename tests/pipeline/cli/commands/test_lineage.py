"""status, lineage and verify on a generated home: what they print, and how they end."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

for folder in ("core/lineage", "../benchmarks"):
    sys.path.insert(0, str((Path(__file__).parents[3] / folder).resolve()))

from bundled_home import Home  # noqa: E402

from wakeword_core.config.loading import save_config  # noqa: E402
from wakeword_pipeline.cli.main import app, main  # noqa: E402


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("commands"))
    save_config(made.config, made.folder / "wakeword.yaml")
    return made


def wakeword(home: Home | Path, *arguments: str, expect: int = 0) -> str:
    folder = home if isinstance(home, Path) else home.path
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments, "--home", str(folder)])
    assert done.exit_code == expect, done.output
    return done.output


def test_status_says_what_waits_for_what(home) -> None:
    config = ("--config", str(home.folder / "wakeword.yaml"))
    text = wakeword(home, "status", *config, "--set", "training.schedule.epochs=9")
    assert "◐ stale   trained_model" in text and "training.schedule.epochs 2 → 9" in text
    assert "◌ waits   onnx_model" in text and "for trained_model" in text and "● fresh   cmvn_stats" in text
    assert max(map(len, text.splitlines()[2:])) <= 80
    text = wakeword(home, "status", *config, "--set", "features.frontend.n_mels=32")
    assert "for mel_features[train]" in text
    rows = {row["asset"]: row for row in json.loads(wakeword(home, "status", *config, "--json"))}
    assert {row["state"] for row in rows.values()} == {"fresh"} and rows["model_bundle"]["causes"] == []


def test_a_model_far_from_home_tells_its_graph_data_and_test(home, tmp_path: Path) -> None:
    text = wakeword(tmp_path / "nowhere", "lineage", str(home.bundle()))
    for told in (
        "robin",
        "unaltered since export: whole",
        "5 % of 200 words missed",
        "trained_model",
        "recordings as of",
    ):
        assert told in text
    assert "300 recordings, 0.08 h, 15 known speakers" in text and "no clear licence: street" in text
    assert "listed in the home" in text
    assert not (tmp_path / "nowhere").exists()


def test_lineage_goes_both_ways_and_ends_at_the_recordings(home) -> None:
    tree = json.loads(wakeword(home, "lineage", "cmvn_stats", "--json", "--recordings"))
    assert {one["name"] for one in tree["made_from"]} == {
        "mel_features[train]", "audio_shards[train]", "raw_manifest", "raw_audio",
    }  # fmt: skip
    assert "model_bundle" in {one["name"] for one in tree["goes_into"]}
    assert tree["recordings"]["splits"] == {"train": 180} and len(tree["recording_list"]) == 180
    assert {one["licence"] for one in tree["recordings"]["sources"]} == {"CC-BY-4.0", "CC0-1.0", "not stated"}


def test_the_recordings_are_a_table_for_other_programs(home) -> None:
    lines = wakeword(home, "lineage", str(home.bundle()), "--recordings").splitlines()
    assert lines[0].split("\t")[:4] == ["recording_id", "path", "source", "licence"] and len(lines) == 301


def test_a_recording_tells_what_it_went_into(home) -> None:
    path = home.folder / "recordings" / "street" / "speaker0003" / "000182.wav"
    text = " ".join(wakeword(home, "lineage", str(path)).split())
    assert "street/speaker0003/000182.wav" in text and "licence not stated" in text and "ok in val" in text
    assert "audio_shards[val]" in text and "model_bundle" in text
    tree = json.loads(wakeword(home, "lineage", str(path), "--json"))
    assert tree["recording"]["source"] == "street" and {"audio_shards[val]"} < {
        one["name"] for one in tree["goes_into"]
    }


def test_verify_ends_well_only_when_all_is_well(home, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, config = str(home.bundle()), ("--config", str(home.folder / "wakeword.yaml"))
    assert wakeword(home, "verify", model, *config).startswith("current: the model_bundle")
    text = wakeword(home, "verify", model, *config, "--set", "training.schedule.epochs=9", expect=1)
    assert text.startswith("outdated") and "training.schedule.epochs 2 → 9" in text
    assert "no configuration" in " ".join(wakeword(home, "verify", model).split())
    found = json.loads(wakeword(tmp_path / "nowhere", "verify", model, "--json"))
    assert found["verdict"] == "whole" and "no home" in found["not_compared_because"]
    altered = tmp_path / "a.onnx"
    altered.write_bytes(Path(model).read_bytes().replace(b"robin", b"raven"))
    assert json.loads(wakeword(home, "verify", str(altered), "--json", expect=1))["verdict"] == "altered"


def test_what_is_unknown_is_one_line(home, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["wakeword", "lineage", "nonsense", "--home", str(home.path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1 and len(capsys.readouterr().err.strip().splitlines()) == 1
