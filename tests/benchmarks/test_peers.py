import hashlib
import io
import json

import numpy as np
import peers
import pytest
import soundfile

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError
from wakeword_core.graph.project import Project
from wakeword_core.listeners.listener import OURS, Listener
from wakeword_core.listeners.peers import RATE
from wakeword_core.runtime import WakewordModel
from wakeword_core.store.artifacts import ArtifactStore


class Loudness(Listener):
    """A score each 0.1 s: high where it is as loud as the words; `deaf` to some of them, `nervous` in background."""

    version = "1"
    detector = DetectorConfig(smoothing=1)

    def __init__(self, name, path, deaf=0.0, nervous=False):
        self.name, self.files = name, [path]
        self._deaf, self._nervous = deaf, nervous
        self.heard = []

    def reset(self):
        pass

    def push(self, pcm):
        self.heard.append(hashlib.sha256(pcm.tobytes()).hexdigest())
        blocks = pcm[: len(pcm) // 1_600 * 1_600].reshape(-1, 1_600).astype(np.float64)
        loudness = np.sqrt((blocks**2).mean(axis=1)) / 32_768
        scores = np.clip(loudness * 4, 0, 1) * (loudness > self._deaf)
        if self._nervous:
            scores[20:21] = 1.0
        # late, so that it is never before the word that voice activity finds
        return np.arange(1, len(blocks) + 1) / 10 + 0.4, scores


@pytest.fixture(scope="module")
def built(tmp_path_factory, frontend):
    """A home with the manifest and the shards of a few noises: (its configuration file, home, manifest)."""
    root = tmp_path_factory.mktemp("peers")
    random = np.random.default_rng(7)
    sounds = {"word": (6, 1.0, 0.15), "talk": (5, 3.0, 0.02), "alike": (2, 1.0, 0.02), "hum": (2, 3.0, 0.02)}
    for folder, (count, seconds, level) in sounds.items():
        for split in ("test", "val"):
            (root / "audio" / folder / split).mkdir(parents=True)
            for index in range(count):
                quiet = random.normal(0, 0.001, round(seconds * RATE))
                third = len(quiet) // 3
                quiet[third : 2 * third] += random.normal(0, level * (1 + 0.1 * index), third)
                soundfile.write(root / "audio" / folder / split / f"{index}.wav", quiet, RATE)
    roles = {"word": "positive", "talk": "negative", "alike": "hard_negative", "hum": "noise"}
    sources = [
        {"name": f"{name}-{split}", "path": f"${{AUDIO_ROOT}}/{name}/{split}", "role": role, "split": split}
        for name, role in roles.items()
        for split in ("test", "val")
    ]
    settings = {
        "phrase": "alexa",
        "data": {"sources": sources},
        "features": {"frontend": frontend.model_dump(mode="json")},
    }
    path = root / "config.yaml"
    path.write_text(json.dumps(settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIO_ROOT", str(root / "audio"))
        config = peers.load_config(path)
    project = Project(config, root / "home")
    manifest, _ = project.build("raw_manifest")
    for split in ("test", "val"):
        project.build("audio_shards", split)
    return path, root / "home", manifest


@pytest.fixture
def own_model(built, write_model, tmp_path):
    return WakewordModel(write_model(tmp_path / "model.onnx", keys={"raw_manifest": built[2].key}))


@pytest.fixture
def play(built, own_model, tmp_path, monkeypatch):
    """Compare engines on the small home."""
    monkeypatch.setenv("AUDIO_ROOT", str(built[0].parent / "audio"))
    monkeypatch.setattr(peers, "COST_SECONDS", 1.5)
    monkeypatch.setattr(peers, "COST_ROUNDS", 1)
    (tmp_path / "weights").write_bytes(b"12345")

    def run(*engines, splits=("test",), minutes=None, snr_db=20.0):
        audio = peers.shards_of_model(own_model, built[1], splits)
        config = peers.stream_config(peers.load_config(built[0]), snr_db, minutes)
        return peers.compare(engines, audio, config, minutes)

    run.weights = tmp_path / "weights"
    return run


class TestComparison:
    def test_the_object_says_it_all(self, play):
        ours, rival = Loudness(OURS, play.weights), Loudness("rival", play.weights, deaf=0.19)
        report = play(ours, rival)
        again = json.loads(json.dumps(report, allow_nan=False))
        assert (report["name"], report["goal"], report["held_out"]) == ("peers", peers.GOAL, True)
        assert (report["words"], report["splits"], report["snr_db"]) == (6, ["test"], 20.0)
        assert report["background_hours"] == pytest.approx((5 + 2) * 3 / 3600, abs=1e-4)
        assert list(again["engines"]) == [OURS, "rival"]
        for engine in again["engines"].values():
            assert engine["model_bytes"] == 5
            assert engine["cpu_ms_per_s"] > 0
            assert list(engine["points"]) == ["0.1", "0.5", "1"]
            for point in engine["points"].values():
                assert point["words"] == 6
                assert point["frr"] == pytest.approx(point["misses"] / 6, abs=1e-4)
                assert point["frr_interval"][0] <= point["frr"] <= point["frr_interval"][1]
                assert point["fah_interval"][1] == pytest.approx(3.689 / report["background_hours"], rel=0.02)
                assert point["confusables"] == 2
                assert point["note"]

    def test_a_deaf_rival_misses_and_the_ratio_says_so(self, play):
        report = play(Loudness(OURS, play.weights), Loudness("deaf", play.weights, deaf=0.19))
        missed = report["engines"]["deaf"]["points"]["0.5"]["misses"]
        assert report["engines"][OURS]["points"]["0.5"]["misses"] == 0
        assert 0 < missed < 6
        assert report["ratio"] == missed
        assert report["best_rival"] == "deaf"

    def test_the_best_rival_counts_and_ours_can_lose(self, play):
        rivals = [Loudness("good", play.weights), Loudness("deaf", play.weights, deaf=0.19)]
        report = play(Loudness(OURS, play.weights, deaf=0.19), *rivals)
        assert report["best_rival"] == "good"
        assert 0 < report["ratio"] < 1

    def test_a_rate_out_of_reach_is_said_and_counts_as_all_missed(self, play):
        report = play(Loudness(OURS, play.weights), Loudness("nervous", play.weights, nervous=True))
        point = report["engines"]["nervous"]["points"]["0.5"]
        assert not point["reachable"]
        assert point["lowest_fah"] > 0.5
        assert report["ratio"] == 6
        text = _printed(report)
        assert "unreachable" in text
        assert f"lowest is {point['lowest_fah']:.2f}" in text

    def test_everybody_hears_the_same_audio(self, play):
        first, second = Loudness(OURS, play.weights), Loudness("rival", play.weights)
        play(first, second)
        assert first.heard == second.heard
        assert len(first.heard) > 3

    def test_noise_under_the_words_is_as_asked(self, play):
        calm, loud = Loudness(OURS, play.weights), Loudness(OURS, play.weights)
        play(calm, Loudness("x", play.weights), snr_db=20.0)
        play(loud, Loudness("x", play.weights), snr_db=0.0)
        assert calm.heard[0] != loud.heard[0]
        assert calm.heard[1:3] == loud.heard[1:3]

    def test_validation_adds_background_but_no_words(self, play):
        pair = (Loudness(OURS, play.weights), Loudness("rival", play.weights))
        alone, both = play(*pair), play(*pair, splits=("test", "val"))
        assert both["background_hours"] == pytest.approx(2 * alone["background_hours"], abs=3e-4)
        assert both["words"] == alone["words"]
        assert both["splits"] == ["test", "val"]
        assert any("validation" in one for one in peers.remarks(both))
        assert not any("validation" in one for one in peers.remarks(alone))

    def test_minutes_bound_each_kind_of_audio(self, play):
        pair = (Loudness(OURS, play.weights), Loudness("rival", play.weights))
        report = play(*pair, minutes=0.08)
        everything = play(*pair)
        # the session that reaches the bound is heard whole, and holds no more than that again
        assert 0 < report["background_hours"] < everything["background_hours"] * 0.7
        assert 0 < report["words"] < everything["words"]


def _printed(report):
    from rich.console import Console

    console = Console(width=peers.WIDTH, file=io.StringIO())
    console.print(peers.table(report))
    return console.file.getvalue()


class TestAudio:
    def test_shards_are_those_of_the_models_manifest(self, built, own_model):
        audio = peers.shards_of_model(own_model, built[1], ("test", "val"))
        store = ArtifactStore(built[1] / "store")
        assert audio.held_out
        assert {
            split: ArtifactStore.find(store, "audio_shards", path.name).config["split"]
            for split, path in audio.shards.items()
        } == {"test": "test", "val": "val"}

    def test_a_home_of_another_model(self, built, write_model, tmp_path):
        for keys in ({}, {"raw_manifest": "0123"}):
            stranger = WakewordModel(write_model(tmp_path / "m.onnx", keys=keys))
            with pytest.raises(ArtifactError, match="no manifest"):
                peers.shards_of_model(stranger, built[1], ("test",))

    def test_shards_that_were_never_built(self, built, own_model):
        with pytest.raises(ArtifactError, match=r"audio_shards\[train\]"):
            peers.shards_of_model(own_model, built[1], ("train",))

    def test_recordings_alone_are_packed_and_strangers_are_said_to_be(
        self, built, own_model, write_model, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("AUDIO_ROOT", str(built[0].parent / "audio"))
        config = peers.load_config(built[0])
        audio = peers.build_audio(own_model, config, tmp_path / "fresh", ("test",), peers.silent)
        assert audio.held_out
        stranger = WakewordModel(write_model(tmp_path / "m.onnx", keys={"raw_manifest": "0123"}))
        audio = peers.build_audio(stranger, config, tmp_path / "fresh", ("test",), peers.silent)
        assert not audio.held_out
        report = {"ratio": 1.0, "best_rival": "x", "confidence": 0.95, "splits": ["test"], "held_out": False}
        assert any("another manifest" in one for one in peers.remarks(report))


class TestCommand:
    def test_it_ends_with_one_object(self, adapters, built, write_model, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("AUDIO_ROOT", "/nowhere")
        monkeypatch.setattr(peers, "COST_SECONDS", 1.5)
        monkeypatch.setattr(peers, "COST_ROUNDS", 1)
        model = write_model(tmp_path / "model.onnx", keys={"raw_manifest": built[2].key})
        given_ = ["--home", built[1], "--config", built[0], "--model", model, "--minutes", "0.2"]
        assert peers.main([str(one) for one in [*given_, "--audio-root", built[0].parent / "audio"]]) == 0
        out, err = capsys.readouterr()
        report = json.loads(out.splitlines()[-1])
        assert list(report["engines"]) == list(adapters)
        assert all(name in err for name in adapters)
        assert "FRR at 0.5 FAH" in err

    def test_errors_are_one_line(self, built, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("AUDIO_ROOT", str(built[0].parent / "audio"))
        home = ["--home", str(built[1]), "--config", str(built[0])]
        for arguments, status, said in (
            (home, 1, "onnx_model is not built"),
            ([*home, "--model", str(tmp_path / "none.onnx")], 1, "no model"),
            (["--home", str(built[1]), "--config", str(tmp_path / "none.yaml")], 2, "none.yaml"),
        ):
            assert peers.main(arguments) == status
            out, err = capsys.readouterr()
            assert said in err
            assert err.startswith("peers: ")
            assert len(err.strip().splitlines()) == 1
            assert out == ""

    @pytest.mark.parametrize("arguments", [[], ["--model", "x.onnx"], ["--home", "x", "--minutes", "0"]])
    def test_arguments_that_do_not_make_sense(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            peers.main(arguments)
        assert caught.value.code == 2
        assert "--" in capsys.readouterr().err

    def test_help_needs_nothing(self, capsys):
        with pytest.raises(SystemExit) as caught:
            peers.main(["--help"])
        assert caught.value.code == 0
        assert "--all-background" in capsys.readouterr().out
