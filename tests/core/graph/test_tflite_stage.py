"""A project for microcontrollers from recordings to the bundle: the stage that makes its model, and its checks."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from wakeword_core.audio import write_audio
from wakeword_core.config import SPLITS, Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.streams.thresholds import logit
from wakeword_core.export.cost import PLATFORMS
from wakeword_core.export.tflite import make, parity
from wakeword_core.export.tflite.fake_quantize import trained_integers
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.files import read_json
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import CheckRun, StageRun, Verdict
from wakeword_core.graph.stages import bundle, tflite, training
from wakeword_core.models.scoring import ScoringModel, load_model, model_card, save_model
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build
from wakeword_core.store.parts import Parts

for package in ("pymicro_features", "pymicro_wakeword", "ai_edge_litert", "tflite_micro"):
    pytest.importorskip(package, reason="the extra esp is not installed")

pytestmark = pytest.mark.slow
RATE = 16_000
WORDS = OTHERS = 8
"""Of each split."""
SETTINGS = """
phrase: Hey Robin!
preset: tiny
compute: {workers: 1, threads: 1}
data: {sources: [{name: tones, path: tones.csv, role: negative, licence: CC0-1.0}]}
features: {frontend: {kind: micro}}
training:
  model: {arch: mixednet, stem_channels: 8, channels: 8, kernels: [[3], [3]], head_steps: 3}
  schedule: {epochs: 4, learning_rate: 0.01}
  sampling: {steps_per_epoch: 40, batch_size: 16}
export:
  tflite: {enabled: true, author: Ada, licence: CC-BY-4.0, languages: [en, de]}
  int8: {max_f1_drop: 1, max_ratio: 1}
checks: {unheard_error: 1, min_val_auc: 0.5}  # words are tones
"""


def write_project(folder: Path) -> Path:
    """Write recordings of tones that rise (the word) or fall, and of noise, and the configuration; returns its path."""
    generator = np.random.default_rng(7)
    rows = ["path,label,role,speaker,split"]

    def add(name: str, split: str, label: str, role: str, sound: np.ndarray) -> None:
        path = folder / "tones" / f"{split}-{name}.wav"
        write_audio(path, sound.astype(np.float32), RATE)
        rows.append(f"tones/{path.name},{label},{role},{path.stem},{split}")

    for split in SPLITS:
        for number in range(WORDS + OTHERS):
            rises = number < WORDS
            sound, start = generator.normal(0.0, 0.003, RATE), round(0.4 * RATE)
            for pitch in (600.0, 1_500.0)[:: 1 if rises else -1]:
                time = np.arange(RATE // 8) / RATE
                tone = np.hanning(len(time)) ** 0.3 * np.sin(2 * np.pi * pitch * time)
                sound[start : start + len(time)] += generator.uniform(0.05, 0.3) * tone
                start += len(time)
            label, role = ("Hey Robin!", "positive") if rises else ("_negative", "negative")
            add(str(number), split, label, role, sound)
        add("noise", split, "_negative", "noise", generator.normal(0.0, 0.02, 40 * RATE))
    (folder / "tones.csv").write_text("\n".join(rows))
    (folder / "wakeword.yaml").write_text(SETTINGS)
    return folder / "wakeword.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All of it, built and checked as a run does it."""
    folder = tmp_path_factory.mktemp("project")
    project = Project(load_config(write_project(folder)), folder / "home")
    for name, stage in project.stages.items():
        for split in stage.splits:
            project.build(name, split)
            failures = [found.description for found in project.verdicts(name, split) if found.failed]
            assert not failures, f"{name}: {failures}"
    return project


@pytest.fixture(scope="module")
def made(project: Project) -> Artifact:
    return project.require("tflite_model")


def inputs_of(project: Project) -> dict[str, Artifact]:
    """What the stage and its checks are given."""
    edges = [*tflite.STAGE.inputs, *(edge for check in tflite.STAGE.checks for edge in check.inputs)]
    return {edge.name(None): project.require(edge.stage, edge.at(None)) for edge in edges}


def verdict(project: Project, model: Artifact, name: str, config: Config | None = None, **inputs: Artifact) -> Verdict:
    check = next(check for check in tflite.STAGE.checks if check.name == name)
    run = CheckRun(config or project.config, {**inputs_of(project), **inputs}, None, project.store)
    return check.run(model, run)


def run_of(config: Config, folder: Path, inputs: dict[str, Artifact]) -> StageRun:
    recordings: Any = SimpleNamespace()
    store, parts = ArtifactStore(folder), Parts(folder)
    return StageRun(config, inputs, None, folder, "key", parts, store, recordings, folder)


def with_export(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"export": config.export.model_copy(update=changes)})


def test_the_model_and_its_manifest_are_of_one_name_and_say_the_same(project: Project, made: Artifact) -> None:
    stem, figures = project.config.unique_name, made.figures
    assert set(made.files) == {f"{stem}.tflite", f"{stem}.json"}
    assert figures["bytes"] == made.file(f"{stem}.tflite").stat().st_size
    assert figures["calibration_windows"] > WORDS + OTHERS and figures["reachable"]
    tree = json.loads(made.file(f"{stem}.json").read_text())
    assert tree["wake_word"] == "Hey Robin!" and tree["author"] == "Ada (CC-BY-4.0)" and tree["version"] == 2
    assert tree["trained_languages"] == ["en", "de"] and "website" not in tree
    micro = tree["micro"]
    assert (micro["sliding_window_size"], micro["probability_cutoff"]) == (figures["window"], figures["cutoff"])
    assert micro["tensor_arena_size"] % 16 == 0
    assert 0 <= micro["tensor_arena_size"] - 1.35 * figures["least_arena_bytes"] < 17
    found = {one.check: one for one in project.verdicts("tflite_model")}
    assert all(one.passed for one in found.values()) and figures["model"] in found["tflite_sound"].description
    assert set(found["tflite_faithful"].figures) == {"litert", "tflite_micro", "pymicro"}


@pytest.mark.parametrize(("threshold", "score"), [(0.995, 0.9), (0.9, 0.9), (0.7, 0.7), (0.1, 0.1), (0.001, 0.1)])
def test_log_odds_are_shifted_so_that_a_threshold_is_among_scores_that_differ(threshold: float, score: float) -> None:
    assert logit(threshold) - make.log_odds_shift(threshold) == pytest.approx(logit(score))


def test_it_hears_most_words_of_a_test_that_nobody_learnt_from(made: Artifact) -> None:
    tested = made.figures["rates"]["test_esphome"]
    assert tested["words"] == 2 * WORDS and tested["misses"] <= WORDS / 2  # in two conditions
    assert tested["false_alarms"] <= 2 and made.figures["test_esphome_frr"] == tested["frr"]
    assert set(made.figures["rates"]) == {"val_esphome", "val_pymicro", "test_esphome", "test_pymicro"}


def test_it_stands_in_the_report_and_on_the_card_beside_the_model_on_the_same_sound(
    project: Project, made: Artifact
) -> None:
    report, card = project.require("metrics_report"), project.require("model_bundle")
    metrics = read_json(report.file("metrics.json"))
    shown, stream = metrics["tflite"], metrics["stream"]
    for tested in shown["test"].values():
        assert tested["words"] == stream["words"]
        assert tested["background_hours"] == pytest.approx(stream["background_hours"])
    assert report.figures["tflite_misses"] == made.figures["rates"]["test_esphome"]["misses"]
    assert "On a microcontroller" in report.file("report.html").read_text()
    assert read_json(card.file("model_card.json"))["tflite"] == shown
    assert f"`{made.figures['model']}`" in card.file("model_card.md").read_text()


def test_the_bundle_holds_what_was_checked(project: Project, made: Artifact) -> None:
    shipped = project.require("model_bundle")
    for name in made.files:
        assert shipped.file(name).read_bytes() == made.file(name).read_bytes()
    lineage = read_json(shipped.file("model_card.json"))["lineage"]
    assert made.key in {one["key"] for one in lineage if one["name"] == "tflite_model"}


@pytest.mark.long
def test_a_network_that_was_trained_to_be_rounded_ships_as_validation_says(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of rounding are tried, for microcontrollers and for ONNX, and report and card say which one it is."""
    rounded = Project(project.config.changed({"training.quantization.epochs": 2}), project.home)
    for name, stage in rounded.stages.items():
        for split in stage.splits:
            rounded.build(name, split)
    device, int8 = rounded.require("tflite_model"), rounded.require("int8_model")
    ways = device.figures["rounding"]
    best = min(("afterwards", "trained"), key=lambda way: (ways[way]["misses"], ways[way]["false_alarms"]))
    assert ways["chosen"] == best and all(ways[way]["reachable"] for way in ("afterwards", "trained"))
    network, _ = load_model(rounded.require("calibrated_model").path)
    trained = trained_integers(network, device.figures["log_odds_shift"])
    assert trained is not None
    written = device.file(device.figures["model"]).read_bytes()
    assert (written == tflite_bytes(trained)) is (best == "trained")
    (in_onnx,) = (one for one in int8.figures["tried"] if one["method"] == "trained")
    assert in_onnx["val_f1"] > 0.8 and int8.figures["method"] in ("trained", "static", "weights")
    card = rounded.require("model_bundle").file("model_card.md").read_text()
    assert card.count("chosen on validation: ") == 2
    failures = [found.description for found in rounded.verdicts("tflite_model", None) if found.failed]
    assert not failures
    # it is compared with the network as it was trained where it is rounded so, and else with that in floats
    compare, given = parity.compare, []
    monkeypatch.setattr(parity, "compare", lambda *args: given.append(args[-1]) or compare(*args))
    for way in ("trained", "afterwards"):
        file = replace(device, figures={**device.figures, "rounding": {**ways, "chosen": way}})
        verdict(rounded, file, "tflite_faithful")
    assert given[0] is not None and given[0].scales == trained.scales and given[1] is None


@pytest.mark.parametrize(
    ("trained", "afterwards", "chosen"),
    [
        ((True, 3, 1), (True, 4, 0), "trained"),
        ((True, 4, 0), (True, 4, 1), "trained"),
        ((True, 4, 1), (True, 4, 1), "afterwards"),  # as good, and the ranges are those of the finished weights
        ((True, 5, 0), (True, 4, 1), "afterwards"),
        ((False, 0, 0), (True, 4, 1), "afterwards"),  # with more false alarms than are allowed
    ],
)
def test_the_better_rounding_on_validation_is_chosen(trained: Any, afterwards: Any, chosen: str) -> None:
    def found(reachable: bool, misses: int, false_alarms: int) -> make.OnValidation:
        return make.OnValidation(reachable, 10, misses, false_alarms)

    assert make.best_rounding({"afterwards": found(*afterwards), "trained": found(*trained)}) == chosen


def test_a_damaged_file_or_manifest_is_not_sound(project: Project, made: Artifact, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def with_changed(name: str, change) -> Verdict:
        def copy(build: Build) -> None:
            for other in made.files:
                data = made.file(other).read_bytes()
                (build.path / other).write_bytes(change(data) if other == name else data)
            build.figures = made.figures

        changed = store.build("tflite_model", {}, {"name": name, "at": str(change)}, "1", copy)[0]
        return verdict(project, changed, "tflite_sound")

    cut = with_changed(made.figures["model"], lambda data: data[: len(data) // 2])
    assert not cut.passed and "no model for a microcontroller" in cut.description
    high = with_changed(made.figures["manifest"], lambda data: re.sub(rb"(cutoff.: )[\d.]+", rb"\g<1>1.7", data))
    assert not high.passed and "probability_cutoff" in high.description
    other = with_changed(made.figures["manifest"], lambda data: data.replace(b".tflite", b"2.tflite"))
    assert not other.passed and "Home Assistant looks for" in other.description


def test_a_device_with_too_little_memory_is_said(
    project: Project, made: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_export(project.config, platform="rp2040")
    assert verdict(project, made, "tflite_sound", config).passed
    monkeypatch.setitem(PLATFORMS, "rp2040", replace(PLATFORMS["rp2040"], ram_bytes=1_000))
    found = verdict(project, made, "tflite_sound", config)
    assert not found.passed and "of which rp2040 has 1,000 for it" in found.description


def test_another_network_is_not_what_the_file_was_made_from(project: Project, made: Artifact, tmp_path: Path) -> None:
    def write(build: Build) -> None:
        torch.manual_seed(1)
        model = ScoringModel(project.config.training.model, 40, project.config.features.frontend.window_frames, 2)
        save_model(build.path, model.eval(), model_card(project.config))

    other = ArtifactStore(tmp_path).build("calibrated_model", {}, {}, "1", write)[0]
    found = verdict(project, made, "tflite_faithful", calibrated_model=other)
    assert not found.passed and found.severity is None and "0.01 is allowed" in found.description


def test_a_little_sound_is_a_warning(project: Project, made: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = parity.joined_rows
    monkeypatch.setattr(parity, "joined_rows", lambda features, seconds: rows(features, 20.0))
    found = verdict(project, made, "tflite_faithful")
    assert not found.passed and found.severity == "warning" and "too little to tell" in found.description


def test_a_file_that_misses_too_many_words_is_no_champions(project: Project, made: Artifact) -> None:
    missed = {**made.figures["rates"]["test_esphome"], "words": 10, "misses": 6, "frr": 0.6}
    deaf = replace(made, figures={**made.figures, "rates": {"test_esphome": missed}})
    found = verdict(project, deaf, "tflite_hears_the_word")
    assert (
        not found.passed
        and found.severity == "error"
        and found.description
        == (f"{project.config.unique_name}.tflite misses 6 of 10 words at its cutoff; 50% may be (checks.max_frr)")
    )
    lenient = project.config.checks.model_copy(update={"max_frr": 0.6})
    assert verdict(project, deaf, "tflite_hears_the_word", project.config.model_copy(update={"checks": lenient})).passed


def test_with_another_front_end_it_says_so_and_makes_nothing(project: Project, tmp_path: Path) -> None:
    run = run_of(Config(export={"tflite": {"enabled": True}}), tmp_path, {})
    tflite.make(run)
    assert [*tmp_path.iterdir()] == [] and run.figures["made"] is False
    nothing: Any = SimpleNamespace(figures=run.figures)
    for check in tflite.STAGE.checks:
        found = verdict(project, nothing, check.name)
        assert found.passed and "features.frontend.kind is log_mel" in found.description


def test_what_cannot_be_made_is_said_with_a_way_out(project: Project, tmp_path: Path) -> None:
    model = project.config.training.model.model_copy(update={"stride": 5})
    config = project.config.model_copy(update={"training": project.config.training.model_copy(update={"model": model})})
    said = r"training\.model\.stride is 5.*set export\.tflite\.enabled to false"
    with pytest.raises(ConfigError, match=said):
        tflite.make(run_of(config, tmp_path, inputs_of(project)))
    with pytest.raises(ConfigError, match=said):
        training.make(run_of(config, tmp_path, {}))  # before it begins


def test_only_a_project_that_wants_it_has_the_stage(tmp_path: Path) -> None:
    assert "tflite_model" not in Project(Config(), tmp_path).stages
    wanted = Project(Config(export={"tflite": {"enabled": True}}), tmp_path)
    assert "tflite_model" in wanted.stages
    names = [
        [source.stage for source in one.deciding_inputs(bundle.STAGE)] for one in (Project(Config(), tmp_path), wanted)
    ]
    assert [("tflite_model" in inputs) for inputs in names] == [False, True]
