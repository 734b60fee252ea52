"""What a model wrongly wakes to is kept, labelled and learnt from, until it wakes to that no more: the whole loop."""

import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from daemon import built_by
from toy_project import RATE, SETTINGS, hiss, sweep

from wakeword_core.audio import Pcm, read_pcm16, to_pcm16, write_audio
from wakeword_core.config import Config, KeepConfig
from wakeword_core.config.loading import save_config
from wakeword_core.files import read_json
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages.comparison import FILE
from wakeword_core.graph.status import status
from wakeword_core.recordings.captured import LABELLED, TABLE, Opinion, read_reviews, save_review
from wakeword_core.registry.history import Entry
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.captures import Keeper, StreamKeeper, captures_in
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.stage_names import COMPARISON, MODEL
from wakeword_pipeline.cli.commands.lineage import show_lineage
from wakeword_pipeline.orchestration.automation import rebuild_sensor
from wakeword_pipeline.orchestration.resources import ProjectResource

pytestmark = pytest.mark.slow
pytest.importorskip("torch")  # before the session begins, whose exporter is the quick one then

JINGLES = 16
"""How often the television is heard: by their bytes, about a quarter of the captures is in the test."""
CONDITIONS = {"test": {"snr_db": [None], "far_snr_db": []}, "tuning": {"snr_db": [None]}}
MORE = {
    "checks": {"unheard_error": 1, "min_val_auc": 0.5},  # words are tones
    "evaluation": {"conditions": CONDITIONS},
    "export": {"int8": {"max_f1_drop": 0.9}},
    "automation": {"quiet_seconds": 0},
}
TRAINING = {
    **SETTINGS["training"],
    "start_from": "champion",
    "start_rate": 1.0,
    "schedule": {"epochs": 4, "learning_rate": 0.02},
    "sampling": {"steps_per_epoch": 24, "batch_size": 16},
}


def heard(generator: np.random.Generator, low: float, high: float) -> Pcm:
    """A tone in three seconds of hiss."""
    sound = hiss(generator, 3.0)
    sound[RATE : RATE + 4_800] += sweep(generator, low, high)
    return to_pcm16(sound.astype(np.float32))


def jingle(generator: np.random.Generator) -> Pcm:
    """A low tone, which a model that knows hiss and rising tones alone takes for one of these."""
    return heard(generator, 400, 400)


def word(generator: np.random.Generator) -> Pcm:
    """The word: a tone that rises."""
    return heard(generator, 500, 3_000)


class Household:
    """A project that knows its word and quiet, and nothing else; and what its people do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.kept = folder, folder / "home", folder / "kept"
        self.random = np.random.default_rng(7)
        self.sources = [
            self._recorded(split, role, count, seconds)
            for split, words in (("train", 12), ("val", 6), ("test", 6))
            for role, count, seconds in (("positive", words, 0.5), ("negative", words, 0.6), ("background", 3, 3.0))
        ]

    def _recorded(self, split: str, role: str, count: int, seconds: float) -> dict[str, str]:
        root = self.folder / "recordings" / split / role
        for number in range(count):
            sound = hiss(self.random, seconds)
            if role == "positive":
                sound[-4_800:] += sweep(self.random, 500, 3_000)
            if role == "negative":
                sound[-4_800:] = 0.0  # as what is played to a model ends
            write_audio(root / f"{number:02}.wav", sound.astype(np.float32), RATE)
        return {"name": f"{split}-{role}", "path": str(root), "role": role, "split": split}

    @property
    def project(self) -> Project:
        captured = {"name": "captured", "path": str(self.kept / TABLE), "role": "hard_negative", "captured": True}
        sources = [*self.sources, *([captured] if (self.kept / TABLE).exists() else [])]
        tree = {**SETTINGS, **MORE, "training": TRAINING, "data": {"sources": sources}}
        return Project(Config.model_validate(tree), self.home)

    @property
    def champion(self) -> WakewordModel:
        project = self.project
        entry = project.registry().champion
        assert entry is not None
        found = project.store.find(MODEL, entry.key)
        assert found is not None
        return WakewordModel(found.file(MODEL_FILE))

    def crown(self) -> None:
        """A first champion, of which no more is made than what wakes."""
        project, made = self.project, dict[str, str]()
        for name, stage in project.stages.items():
            for split in stage.splits:
                made[name] = project.build(name, split)[0].key
            if name == MODEL:
                break
        with project.registry().changing() as registry:
            registry.adding(Entry(made[MODEL], "promoted", "it is the first one", "person", artifacts=made))

    def watch_television(self) -> None:
        """Hear jingles as `wakeword listen --keep` does."""
        model = self.champion
        keeper = StreamKeeper(
            Keeper(self.kept, KeepConfig(before_seconds=0.5, after_seconds=0.5)), model, model.threshold
        )
        detector = Detector(model)
        for _ in range(JINGLES):
            pcm = jingle(self.random)
            events = detector.process(pcm)
            for event in events:
                keeper.decide(event, True)
            keeper.push(pcm, detector.times, detector.scores, events)
        keeper.finish()


def test_a_model_that_woke_to_the_television_learns_not_to(tmp_path: Path, empty_store: Path, capsys) -> None:
    house = Household(tmp_path)
    house.crown()
    first = house.champion
    house.watch_television()
    captures = captures_in(house.kept)
    assert sum(capture.kind == "event" for capture in captures) >= JINGLES / 2

    for capture in captures:
        save_review(house.kept, capture.sound.stem, Opinion("no", "anna"))
    assert {review.split for review in read_reviews(house.kept).values()} == {"train", "test"}

    shutil.copyfile(empty_store, house.home / "mlflow.db")
    save_config(house.project.config, tmp_path / "wakeword.yaml")
    resource = ProjectResource(config_path=str(tmp_path / "wakeword.yaml"), home=str(house.home))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        built = [
            name
            for run in built_by(rebuild_sensor(house.project.config.automation), resource, instance)
            for name in run
        ]
    assert built.count("trained_model") == built.count(COMPARISON) == 1

    second, project = house.champion, house.project
    assert second.key != first.key and {state.state for state in status(project)} == {"fresh"}
    before = project.store.find(MODEL, first.key)
    start = project.require("trained_model").inputs["calibrated_model[start]"]
    assert start["key"] == before.inputs["calibrated_model"]["key"]
    sounds = [read_pcm16(path, RATE) for path in sorted((house.kept / LABELLED).glob("*.flac"))]
    woke = [[bool(model.detect(pcm)) for pcm in sounds] for model in (first, second)]
    assert sum(woke[0]) >= JINGLES / 2 and not any(woke[1])
    assert all(second.detect(word(house.random)) for _ in range(5)), "it is not deaf"

    comparison = read_json(project.require(COMPARISON).file(FILE))
    assert comparison["passed"] and not any(row["worse"] for row in comparison["table"])
    row = next(row for row in comparison["table"] if row["figure"] == "captures of the test that are wrong")
    assert row["candidate"] == 0 < row["champion"]
    tested = {
        f"captured/{LABELLED}/{review.name}.flac"
        for review in read_reviews(house.kept).values()
        if review.split == "test"
    }
    assert {one["path"] for one in comparison["captured"]} == tested
    assert [one["candidate"]["wrong"] for one in comparison["captured"]] == [False] * len(tested)

    learnt = next(review.name for review in read_reviews(house.kept).values() if review.split == "train")
    show_lineage(str(house.kept / LABELLED / f"{learnt}.flac"), house.home, recordings=False, as_json=True)
    behind = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert behind["recording"]["source"] == "captured"
    assert (MODEL, second.key) in {(one["name"], one["key"]) for one in behind["goes_into"]}
