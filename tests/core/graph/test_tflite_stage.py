"""The stage that makes a model for microcontrollers, and its checks, on artifacts made by hand."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.streams.build import Condition, SourceSpan, Word
from wakeword_core.evaluation.streams.operating_points import OperatingPoints
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.evaluation.streams.thresholds import OperatingPoint
from wakeword_core.export.cost import PLATFORMS
from wakeword_core.export.tflite import make, runtimes
from wakeword_core.export.tflite.manifest import read_manifest
from wakeword_core.features.store import COLUMNS, PARTS_FOLDER, write_part, write_split
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, CheckRun, StageRun, Verdict
from wakeword_core.graph.stages import bundle, tflite, training
from wakeword_core.models.scoring import ScoringModel, model_card, save_model
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build
from wakeword_core.store.parts import Parts

SMALL = {"stem_channels": 8, "channels": 8, "kernels": [[3]], "head_steps": 2}
POINT = OperatingPoint(0.5, 0.995, 0.1, 0.4, True, 0.0, (0.0, 0.2), (0.1, 1.0), 2, 5.0, "")


def config_of(kind: str = "micro", **model: object) -> Config:
    config = Config(
        phrase="Hey Robin!",
        export={"tflite": {"enabled": True, "author": "Ada", "licence": "CC-BY-4.0", "languages": ["en", "de"]}},
        training={"model": {"arch": "mixednet", **SMALL, **model}},
    )
    frontend = config.features.frontend.model_copy(update={"kind": kind, "n_mels": 40})
    return config.model_copy(update={"features": config.features.model_copy(update={"frontend": frontend})})


def write_features(folder: Path, rows: int, frames: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    steps = generator.uniform(0.0, 26.0, (rows, 40, frames // 10 + 1))
    values = np.repeat(steps, 10, axis=2)[:, :, :frames].astype(np.float16)
    columns = {name: np.zeros(rows, dtype) for name, dtype in COLUMNS.items()}
    columns["recording_ids"] = np.array(["a" * 64] * rows, "S64")
    attributes = {"labels_json": '["_negative", "hey robin!"]', "config_json": "{}"}
    part = folder / PARTS_FOLDER / "00000.h5"
    write_part(part, rows, [values], columns, attributes)
    write_split(folder / "split.h5", [part], attributes)


def write_calibrated(folder: Path, config: Config) -> None:
    torch.manual_seed(0)
    model = ScoringModel(config.training.model, 40, 151, 2)
    model.mean += 13.0
    model.std *= 7.0
    with torch.no_grad():
        model.train().backbone.dense(model.normalise(26.0 * torch.rand(8, 40, 400)))
    save_model(folder, model.eval(), model_card(config))
    OperatingPoints("balanced", DetectorConfig(smoothing=6), {"balanced": POINT}, Origins(1, 1, 1.0, 1.0)).save(folder)


def imagined_streams(scorer, shards: Path, config: Config, *args: object, **more: object) -> StreamScores:
    """Streams of a minute of noise in which the scorer's own scores count, and its highest was a word."""
    pcm = np.random.default_rng(3).normal(0.0, 2_000.0, 60 * 16_000).astype(np.int16)
    times, scores = scorer(pcm)
    loudest = float(times[100:][np.argmax(scores[100:])])
    word = Word(config.labels[1], "c" * 64, loudest - 0.5, loudest, "people", begin=loudest - 0.5)
    span = (SourceSpan("noise", "d" * 64, 0.0, 60.0),)
    heard = np.asarray(scores, np.float64)
    classes = np.ones(len(scores), np.int64)
    sessions = (
        SessionScores(Condition(None), times, heard, classes, (word,), span),
        SessionScores(None, times, np.minimum(heard, np.median(heard)), classes, (), span),
    )
    return StreamScores(sessions, config.labels)


class Home:
    """What the stage is made from, and the stage made from it."""

    def __init__(self, folder: Path, config: Config, *, test_rows: int = 60) -> None:
        self.config, self.store = config, ArtifactStore(folder / "store")
        self.inputs = {
            "calibrated_model": self.artifact("calibrated_model", lambda out: write_calibrated(out, config)),
            "mel_features[train]": self.artifact("mel_features", lambda out: write_features(out, 12, 301, 1)),
            **{f"audio_shards[{split}]": self.artifact("audio_shards", lambda out: None) for split in ("val", "test")},
            "raw_manifest": self.artifact("raw_manifest", lambda out: None, {"synthetic": []}),
            "mel_features[test]": self.artifact("mel_features", lambda out: write_features(out, test_rows, 151, 2)),
        }

    def artifact(self, stage: str, fill, figures: dict | None = None) -> Artifact:
        def make(build: Build) -> None:
            fill(build.path)
            build.figures = figures or {}

        return self.store.build(stage, {}, {"number": len(list(self.store.root.glob("*/*")))}, "1", make)[0]

    def make(self) -> Artifact:
        def build(at: Build) -> None:
            # what streams are made of is tested with them
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(make, "score_streams", imagined_streams)
                fill(at)

        def fill(at: Build) -> None:
            parts, recordings = Parts(at.path), SimpleNamespace()
            run = StageRun(self.config, self.inputs, None, at.path, "key", parts, self.store, recordings, at.path)
            tflite.make(run)
            at.figures = run.figures

        return self.store.build("tflite_model", {}, {}, "1", build)[0]

    def verdict(self, model: Artifact, name: str) -> Verdict:
        check: Check = next(check for check in tflite.STAGE.checks if check.name == name)
        return check.run(model, CheckRun(self.config, self.inputs, None, self.store))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"), config_of())


@pytest.fixture(scope="module")
def made(home: Home) -> Artifact:
    return home.make()


def test_it_makes_a_model_and_its_manifest_of_one_name(home: Home, made: Artifact) -> None:
    stem = home.config.unique_name
    assert set(made.files) == {f"{stem}.tflite", f"{stem}.json"}
    assert made.figures["made"] and made.figures["bytes"] == made.file(f"{stem}.tflite").stat().st_size
    assert made.figures["calibration_windows"] == 12
    # a score of 0.995 became one of 0.9
    assert made.figures["log_odds_shift"] == pytest.approx(np.log(0.995 / 0.005) - np.log(0.9 / 0.1))
    tree = json.loads(made.file(f"{stem}.json").read_text())
    assert tree["wake_word"] == "Hey Robin!" and tree["author"] == "Ada (CC-BY-4.0)" and tree["version"] == 2
    assert tree["trained_languages"] == ["en", "de"] and "website" not in tree
    micro, figures = tree["micro"], made.figures
    assert (micro["sliding_window_size"], micro["probability_cutoff"]) == (figures["window"], figures["cutoff"])
    assert figures["reachable"] and figures["rates"]["val_esphome"]["false_alarms"] == 0
    assert set(figures["rates"]) == {"val_esphome", "val_pymicro", "test_esphome", "test_pymicro"}
    assert figures["test_esphome_frr"] == figures["rates"]["test_esphome"]["frr"]
    least = runtimes.least_arena(made.file(f"{stem}.tflite"))
    assert made.figures["least_arena_bytes"] == least
    assert tree["micro"]["tensor_arena_size"] % 16 == 0 and 0 <= tree["micro"]["tensor_arena_size"] - 1.35 * least < 17
    read_manifest(made.file(f"{stem}.json"))


def test_its_checks_hold(home: Home, made: Artifact) -> None:
    sound, faithful = (home.verdict(made, name) for name in ("tflite_sound", "tflite_faithful"))
    assert sound.passed and made.figures["model"] in sound.description
    assert faithful.passed and set(faithful.figures) == set(runtimes.RUNTIMES)
    assert "over 90 s of test sound" in faithful.description
    assert all(one["mean_difference"] <= 0.01 for one in faithful.figures.values())


def test_a_damaged_file_or_manifest_is_not_sound(home: Home, made: Artifact, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def with_changed(name: str, change) -> Verdict:
        def copy(build: Build) -> None:
            for other in made.files:
                data = made.file(other).read_bytes()
                (build.path / other).write_bytes(change(data) if other == name else data)
            build.figures = made.figures

        return home.verdict(
            store.build("tflite_model", {}, {"name": name, "at": str(change)}, "1", copy)[0], "tflite_sound"
        )

    cut = with_changed(made.figures["model"], lambda data: data[: len(data) // 2])
    assert not cut.passed and "no model for a microcontroller" in cut.description
    high = with_changed(made.figures["manifest"], lambda data: re.sub(rb"(cutoff.: )[\d.]+", rb"\g<1>1.7", data))
    assert not high.passed and "probability_cutoff" in high.description
    other = with_changed(made.figures["manifest"], lambda data: data.replace(b".tflite", b"2.tflite"))
    assert not other.passed and "Home Assistant looks for" in other.description


def test_a_device_with_too_little_memory_is_said(home: Home, made: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    export = home.config.export.model_copy(update={"platform": "rp2040"})
    config = home.config.model_copy(update={"export": export})
    monkeypatch.setattr(home, "config", config)
    assert home.verdict(made, "tflite_sound").passed
    monkeypatch.setitem(PLATFORMS, "rp2040", replace(PLATFORMS["rp2040"], ram_bytes=1_000))
    verdict = home.verdict(made, "tflite_sound")
    assert not verdict.passed and "of which rp2040 has 1,000 for it" in verdict.description


def test_another_network_is_not_what_the_file_was_made_from(home: Home, made: Artifact, tmp_path: Path) -> None:
    other = Home(tmp_path, config_of(kernels=[[5]]))
    verdict = other.verdict(made, "tflite_faithful")
    assert not verdict.passed and verdict.severity is None and "0.01 is allowed" in verdict.description


def test_a_little_sound_is_a_warning(made: Artifact, tmp_path: Path) -> None:
    few = Home(tmp_path, config_of(), test_rows=5)
    verdict = few.verdict(made, "tflite_faithful")
    assert not verdict.passed and verdict.severity == "warning" and "too little to tell" in verdict.description


def test_a_file_that_misses_too_many_words_is_no_champions(
    home: Home, made: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = home.verdict(made, "tflite_hears_the_word")
    assert heard.passed and heard.description == (
        f"{home.config.unique_name}.tflite misses 0 of 1 words at its cutoff; 50% may be (checks.max_frr)"
    )
    missed = {**made.figures["rates"]["test_esphome"], "misses": 1, "frr": 1.0}
    deaf = replace(made, figures={**made.figures, "rates": {"test_esphome": missed}})
    verdict = home.verdict(deaf, "tflite_hears_the_word")
    assert not verdict.passed and verdict.severity == "error" and "misses 1 of 1 words" in verdict.description
    lenient = home.config.checks.model_copy(update={"max_frr": 1.0})
    monkeypatch.setattr(home, "config", home.config.model_copy(update={"checks": lenient}))
    assert home.verdict(deaf, "tflite_hears_the_word").passed


def test_with_another_front_end_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    other = Home(tmp_path, config_of(kind="log_mel"))
    nothing = other.make()
    assert nothing.files == {} and nothing.figures["made"] is False
    for check in tflite.STAGE.checks:
        verdict = other.verdict(nothing, check.name)
        assert verdict.passed and "features.frontend.kind is log_mel" in verdict.description


def test_what_cannot_be_made_is_said_with_a_way_out(tmp_path: Path) -> None:
    impossible = Home(tmp_path, config_of())
    impossible.config = config_of(stride=5)
    with pytest.raises(ConfigError, match=r"training\.model\.stride is 5.*set export\.tflite\.enabled to false"):
        impossible.make()


def test_training_does_not_begin_for_what_cannot_be_made(tmp_path: Path) -> None:
    impossible = config_of(stem_channels=500, channels=500)
    parts, recordings = Parts(tmp_path), SimpleNamespace()
    run = StageRun(impossible, {}, None, tmp_path, "key", parts, ArtifactStore(tmp_path), recordings, tmp_path)
    with pytest.raises(ConfigError, match="parameters, more than the 60,000"):
        training.make(run)


def test_only_a_project_that_wants_it_has_the_stage(tmp_path: Path) -> None:
    assert "tflite_model" not in Project(Config(), tmp_path).stages
    wanted = Project(Config(export={"tflite": {"enabled": True}}), tmp_path)
    assert "tflite_model" in wanted.stages
    names = [
        [source.stage for source in one.deciding_inputs(bundle.STAGE)] for one in (Project(Config(), tmp_path), wanted)
    ]
    assert [("tflite_model" in inputs) for inputs in names] == [False, True]
