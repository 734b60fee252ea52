"""The program of torch.export: the same scores, the same bytes, and nothing in it that could be run."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.export import torch_program
from wakeword_core.export.onnx_export import in_torch
from wakeword_core.export.torch_program import ProgramModel, export_program, load_program, make_program
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import CheckRun, StageRun
from wakeword_core.graph.stages import bundle
from wakeword_core.graph.stages import torch_program as stage
from wakeword_core.models.scoring import save_model
from wakeword_core.runtime import WakewordModel
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build


@pytest.fixture(scope="module")
def program(exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, model, _, _, folder = exports("tiny_conv")
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    export_program(model, WakewordModel(folder / "model.onnx").card, path)
    return path


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(-6.0, 4.0, (count, 64, 151)).astype(np.float32)


@pytest.mark.parametrize("arch", ["tiny_conv", "crnn"])
def test_scores_of_any_batch_are_those_of_the_network_and_of_onnx(exports, tmp_path: Path, arch: str) -> None:
    _, model, _, _, folder = exports(arch)
    figures = make_program(model, folder / "model.onnx", noise(5), tmp_path)
    path = tmp_path / "model.pt2"
    assert figures["bytes"] == path.stat().st_size and 0 < figures["windows_ms_per_s"] < 5_000
    assert 0 <= figures["parity"] < 1e-4
    onnx, own = WakewordModel(folder / "model.onnx"), ProgramModel(folder / "model.onnx", path)
    for count in (1, 2, 7):
        windows = noise(count)
        scores = own.score_windows(windows)
        assert scores == pytest.approx(in_torch(model, model, windows), abs=1e-6)
        assert scores == pytest.approx(onnx.score_windows(windows), abs=1e-4)
    assert np.ptp(own.score_windows(noise(7))[:, 1]) > 0.01


def test_the_same_model_gives_the_same_bytes_and_they_tell_nothing_of_this_machine(
    exports, program: Path, tmp_path: Path
) -> None:
    _, model, _, _, folder = exports("tiny_conv")
    again = tmp_path / "another name.pt2"
    export_program(model, WakewordModel(folder / "model.onnx").card, again)
    data = program.read_bytes()
    assert again.read_bytes() == data
    assert b"wakeword_core" not in data and str(Path(torch_program.__file__).parents[2]).encode() not in data


def test_torch_alone_loads_it_with_its_card(exports, program: Path) -> None:
    extra = {torch_program.CARD_ENTRY: ""}
    loaded = torch.export.load(program, extra_files=extra)
    card = json.loads(extra[torch_program.CARD_ENTRY])
    assert card == WakewordModel(exports("tiny_conv")[4] / "model.onnx").card
    assert loaded.module()(torch.from_numpy(noise(3))).shape == (3, len(card["labels"]))


def rewritten(path: Path, out: Path, changes: dict[str, object]) -> Path:
    """The same archive with other parts: bytes, or a function of the JSON that was there; None leaves one out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as written:
        parts = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
        for name, change in changes.items():
            if change is None:
                del parts[name]
            else:
                parts[name] = json.dumps(change(json.loads(parts[name]))).encode() if callable(change) else change
        for name, data in parts.items():
            written.writestr(f"archive/{name}", data)
    return out


def with_node(name: str, value: object):
    def change(tree: dict) -> dict:
        tree["graph_module"]["graph"]["nodes"][-1][name] = value
        return tree

    return change


def with_pickled_weights(tree: dict) -> dict:
    next(iter(tree["config"].values()))["use_pickle"] = True
    return tree


def with_batch(expression: str):
    def change(tree: dict) -> dict:
        return json.loads(json.dumps(tree).replace("Symbol('s", f"{expression}Symbol('s"))

    return change


MODEL, EXAMPLES, WEIGHTS = "models/model.json", "data/sample_inputs/model.pt", torch_program._WEIGHTS
CALL = "__import__('os').system('true')"


class Calls:
    """Which is called when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({WEIGHTS: with_pickled_weights}, "it holds pickles"),
        ({EXAMPLES: b"\x80\x02}q\x00."}, "an example of its input, which is a pickle"),
        ({"data/aotinductor/model/model.so": b"\x7fELF"}, "it holds 'data/aotinductor/model/model.so'"),
        ({"data/weights/model.pt": b"\x80"}, "it holds 'data/weights/model.pt'"),
        ({"data/constants/custom_obj_0": b"\x80"}, "it holds 'data/constants/custom_obj_0'"),
        ({MODEL: with_batch(f"{CALL} or ")}, "it holds the text"),
        ({MODEL: with_batch("eval(1) or ")}, "it holds the text"),
        ({MODEL: with_node("name", "x=open(1)")}, "it holds the text 'x=open"),
        ({MODEL: with_node("metadata", {"a b": ""})}, "it holds the text 'a b'"),
        ({MODEL: with_node("target", "torch.ops.higher_order.cond")}, "no operator of torch"),
        ({MODEL: with_node("target", "os.system")}, "no operator of torch"),
        ({MODEL: None}, "it lacks"),
        ({MODEL: b"{"}, "EOF"),
        ({MODEL: b"[]"}, "is no program of this project"),
        ({WEIGHTS: b'{"config": {"a": 1}}'}, "is no program of this project"),
    ],
)
def test_what_could_bring_code_with_it_is_not_loaded(program: Path, tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        load_program(rewritten(program, tmp_path / "bad.pt2", changes))
    assert said in str(refused.value) and "it is not loaded" in str(refused.value)


@pytest.mark.filterwarnings("ignore")
def test_torch_itself_runs_a_pickle_that_is_refused_here(program: Path, tmp_path: Path) -> None:
    called = tmp_path / "called"
    bad = rewritten(program, tmp_path / "bad.pt2", {EXAMPLES: pickle.dumps(Calls(called))})
    with pytest.raises(ArtifactError, match="which is a pickle"):
        load_program(bad)
    assert not called.exists()
    with pytest.raises(Exception):  # noqa: B017 - whatever torch makes of it, after the call
        torch.export.load(bad)
    assert called.exists()


def test_what_is_no_archive_or_too_large_is_a_sentence(program: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "text.pt2").write_text("hello")
    (tmp_path / "half.pt2").write_bytes(program.read_bytes()[:5_000])
    for path in (tmp_path / "text.pt2", tmp_path / "half.pt2", tmp_path / "none.pt2", tmp_path):
        with pytest.raises(ArtifactError, match="is no program of this project"):
            load_program(path)
    with zipfile.ZipFile(tmp_path / "twice.pt2", "w") as twice:
        for _ in range(2):
            with pytest.warns() if "archive/byteorder" in twice.namelist() else monkeypatch.context():
                twice.writestr("archive/byteorder", "little")
    with pytest.raises(ArtifactError, match="two parts of one name"):
        load_program(tmp_path / "twice.pt2")
    monkeypatch.setattr(torch_program, "_MAX_BYTES", 1_000)
    with pytest.raises(ArtifactError, match="at most"):
        load_program(program)


def test_numbers_that_were_cut_short_are_a_sentence(program: Path, tmp_path: Path) -> None:
    cut = rewritten(program, tmp_path / "cut.pt2", {"data/weights/weight_0": b"\0" * 8})
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_program(cut)


class Home:
    """What the stage is made from."""

    def __init__(self, folder: Path, exported: tuple) -> None:
        _, self.model, card, _, self.onnx = exported
        self.store = ArtifactStore(folder / "store")
        self.config = Config(export={"torch": {"enabled": True}})
        self.inputs = {
            "calibrated_model": self.artifact("calibrated_model", lambda out: save_model(out, self.model, card)),
            "onnx_model": self.artifact("onnx_model", self._copy),
            "mel_features[val]": self.artifact("mel_features", lambda out: None),
        }

    def _copy(self, out: Path) -> None:
        (out / "model.onnx").write_bytes((self.onnx / "model.onnx").read_bytes())

    def artifact(self, name: str, fill) -> Artifact:
        def make(build: Build) -> None:
            fill(build.path)

        return self.store.build(name, {}, {}, "1", make)[0]

    def made(self) -> Artifact:
        def make(build: Build) -> None:
            run = StageRun(self.config, self.inputs, None, build.path, "key", None, self.store, None, build.path)  # type: ignore[arg-type]
            stage.make(run)
            build.figures = run.figures

        return self.store.build("torch_program", {}, {}, "1", make)[0]


def test_the_stage_makes_it_and_its_check_compares_it_with_torch_and_with_onnx(
    exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakeword_core.features.store.spread_windows", lambda folder, count: noise(5))
    home = Home(tmp_path, exports("tiny_conv"))
    made = home.made()
    assert set(made.files) == {"model.pt2"} and made.figures["bytes"] == made.file("model.pt2").stat().st_size
    (check,) = stage.STAGE.checks

    def verdict():
        return check.run(made, CheckRun(home.config, home.inputs, None, home.store))

    assert check.blocking and verdict().passed and "over 5 windows" in verdict().description
    with torch.no_grad():
        home.model.backbone.classifier.bias[1] += 1.0
    try:
        save_model(home.inputs["calibrated_model"].path, home.model, exports("tiny_conv")[2])
        other = verdict()
    finally:
        with torch.no_grad():
            home.model.backbone.classifier.bias[1] -= 1.0
    assert not other.passed and other.figures["from_torch"] > 1e-4 > other.figures["from_onnx"]


def test_only_a_project_that_wants_it_has_the_stage(tmp_path: Path) -> None:
    for enabled in (False, True):
        project = Project(Config(export={"torch": {"enabled": enabled}}), tmp_path)
        assert ("torch_program" in project.stages) is enabled
        inputs = [source.stage for source in project.deciding_inputs(bundle.STAGE)]
        assert ("torch_program" in inputs) is enabled
