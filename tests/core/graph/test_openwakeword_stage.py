"""The stage that makes models for openWakeWord of a judge's heads, and its check, on artifacts made by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from wakeword_core.config import Config
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import CheckRun, StageRun, Verdict
from wakeword_core.graph.stages import bundle, openwakeword
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build
from wakeword_core.store.parts import Parts

pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: what runs openWakeWord's models")
pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what writes TensorFlow Lite files")

from wakeword_core.judge import alone
from wakeword_core.judge.head import JudgeHead, JudgeHeads

CONFIG = Config(phrase="robin", export={"openwakeword": {"enabled": True}}, judge={"head": {"channels": 8, "count": 2}})
RECORDING = np.random.default_rng(0).normal(0, 2_000, 3 * 16_000).astype(np.int16)


def imagined_streams(scorer, shards: Path, config: Config, *args: object, **more: object) -> StreamScores:
    """A few seconds, the likeliest moment of which is a word, and the rest of which is none."""
    times, scores = scorer(np.concatenate([RECORDING, RECORDING]))
    heard, spans = scores[:, 1].astype(np.float64), (SourceSpan("noise", "d" * 64, 0.0, 6.0),)
    peak, classes = float(times[20 + np.argmax(heard[20:])]), np.ones(len(heard), np.int64)
    word = Word("robin", "c" * 64, peak - 0.4, peak, "people", begin=peak - 0.4)
    sessions = (
        SessionScores(Condition(None), times, heard, classes, (word,), spans),
        SessionScores(None, times, np.minimum(heard, np.median(heard)), classes, (), spans),
    )
    return StreamScores(sessions, config.labels)


class Home:
    """A judge of random weights, and what the stage makes of it."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.store = ArtifactStore(folder / "store")
        torch.manual_seed(seed)
        heads = JudgeHeads([JudgeHead(1, CONFIG.judge.head) for _ in range(2)])
        weights = {name: values.contiguous() for name, values in heads.state_dict().items()}
        self.inputs = {
            "judge_model": self.artifact("judge_model", lambda out: save_file(weights, out / openwakeword.HEAD)),
            "raw_manifest": self.artifact("raw_manifest", lambda out: None, {"synthetic": []}),
            **{f"audio_shards[{split}]": self.artifact("audio_shards", lambda out: None) for split in ("val", "test")},
        }

    def artifact(self, stage: str, fill, figures: dict | None = None) -> Artifact:
        def make(build: Build) -> None:
            fill(build.path)
            build.figures = figures or {}

        return self.store.build(stage, {}, {"number": len(list(self.store.root.glob("*/*")))}, "1", make)[0]

    def make(self) -> Artifact:
        def fill(build: Build) -> None:
            parts, recordings = Parts(build.path), SimpleNamespace()
            run = StageRun(CONFIG, self.inputs, None, build.path, "key", parts, self.store, recordings, build.path)
            openwakeword.make(run)
            build.figures = run.figures

        return self.store.build("openwakeword_model", {}, {}, "1", fill)[0]

    def verdict(self, model: Artifact) -> Verdict:
        (check,) = openwakeword.STAGE.checks
        assert check.blocking
        return check.run(model, CheckRun(CONFIG, self.inputs, None, self.store))


@pytest.fixture(autouse=True)
def _imagined(monkeypatch: pytest.MonkeyPatch) -> None:
    """What streams are made of is tested with them."""
    monkeypatch.setattr(alone, "score_streams", imagined_streams)
    monkeypatch.setattr(alone, "iter_recordings", lambda shards: iter([SimpleNamespace(audio=RECORDING)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_it_makes_both_files_which_hold_the_heads(folder: Path, tmp_path: Path) -> None:
    home = Home(folder)
    made = home.make()
    assert set(made.files) == {"openwakeword/robin.onnx", "openwakeword/robin.tflite"}
    verdict = home.verdict(made)
    assert verdict.passed and set(verdict.figures) == {"onnxruntime", "litert_windows", "pyopen"}
    assert "differ from torch's by at most" in verdict.description and "(1e-05 is allowed)" in verdict.description
    other = Home(tmp_path, seed=1).verdict(made)
    assert not other.passed and other.severity is None and min(other.figures.values()) > 1e-3


@pytest.mark.parametrize("name", ["openwakeword/robin.onnx", "openwakeword/robin.tflite"])
def test_a_damaged_file_fails_the_check_with_a_sentence(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path)
    made = home.make()
    data = made.file(name).read_bytes()
    made.file(name).unlink()
    (made.path / name).write_bytes(data[: len(data) // 2])
    verdict = home.verdict(made)
    assert not verdict.passed and name in verdict.description and verdict.description.count("\n") == 0


def test_only_a_project_that_wants_it_has_the_stage_and_then_it_has_a_judge(tmp_path: Path) -> None:
    without, wanted = Project(Config(), tmp_path), Project(CONFIG, tmp_path)
    made = {"openwakeword_model", "judge_model"}
    assert not made & without.stages.keys() and made <= wanted.stages.keys()
    assert "judged_model" not in wanted.stages
    inputs = [{one.stage for one in project.deciding_inputs(bundle.STAGE)} for project in (without, wanted)]
    assert inputs[1] - inputs[0] == {"openwakeword_model"}
