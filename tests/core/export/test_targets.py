"""What each target takes of a bundle, and what is said where the bundle does not have it."""

import json
import shutil
from importlib import resources
from pathlib import Path

import onnx
import pytest
import yaml

from wakeword_core.config.export import TfliteConfig
from wakeword_core.config.judge import JudgeHeadConfig
from wakeword_core.errors import ArtifactError, MissingDependencyError, WakewordError
from wakeword_core.export import openwakeword
from wakeword_core.export.onnx_graph import load_model, set_card, write_model
from wakeword_core.export.targets import TARGETS, export_target
from wakeword_core.export.tflite import reading
from wakeword_core.export.tflite.limits import MAX_BYTES
from wakeword_core.export.tflite.manifest import manifest_of, write_manifest
from wakeword_core.export.torch_program import export_program
from wakeword_core.judge.head import JudgeHead, JudgeHeads
from wakeword_core.judge.openwakeword import networks_of_word, write_word
from wakeword_core.runtime import WakewordModel

ESPHOME = Path(__file__).parents[3] / "examples" / "esphome" / "esp32-s3.yaml"


@pytest.fixture(scope="module")
def plain(exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model alone, whose card has a key and a phrase."""
    _, _, card, _, made = exports("tiny_conv")
    folder = tmp_path_factory.mktemp("plain")
    model = load_model(made / "model.onnx")
    set_card(
        model, {**card, "phrase": "hey robin", "labels": ["_negative", "hey robin"], "keys": {"onnx_model": "abcd"}}
    )
    write_model(model, folder / "model.onnx")
    return folder


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    """The same to be changed, with smaller models and the card."""
    folder = tmp_path / "bundle"
    shutil.copytree(plain, folder)
    for name in ("model.int8.onnx", "model.streaming.onnx", "judge.onnx"):
        shutil.copy(plain / "model.onnx", folder / name)
    (folder / "model_card.md").write_text("# hey robin\n")
    (folder / "lineage.png").write_bytes(b"a picture")
    return folder


def with_microcontroller(folder: Path, phrase: str = "hey robin", stem: str = "hey_robin") -> Path:
    """Put a model that ESPHome runs into a folder, and its manifest beside it; returns the manifest."""
    library = pytest.importorskip("pymicro_wakeword", reason="needs the esp extra: pip install -e '.[esp]'")
    shipped = library.MicroWakeWord.from_builtin(library.Model.ALEXA).tflite_model
    shutil.copy(shipped, folder / f"{stem}.tflite")
    settings = TfliteConfig(author="Ada")
    manifest = manifest_of(f"{stem}.tflite", phrase, settings, cutoff=0.9, window=5, least_arena=20_000)
    return write_manifest(manifest, folder)


def exported(bundle: Path, target: str, out: Path) -> tuple[set[str], list[str]]:
    """The names in the folder, and the lines of its README."""
    names = export_target(bundle, target, out)
    assert {path.name for path in out.iterdir()} == set(names)
    lines = (out / "README.md").read_text().splitlines()
    assert (
        len(lines) == 5 and lines[0].startswith("# hey robin for ") and all(one.startswith("- ") for one in lines[1:])
    )
    assert all(f"`{name}`" in lines[1] for name in set(names) - {"README.md", "exported-files.json"})
    return set(names) - {"README.md", "exported-files.json"}, lines


def test_onnx_takes_every_onnx_file_and_the_card(bundle: Path, tmp_path: Path) -> None:
    onnx_files = {"model.onnx", "model.int8.onnx", "model.streaming.onnx", "judge.onnx"}
    names, lines = exported(bundle, "onnx", tmp_path / "out")
    assert names == {*onnx_files, "model_card.md"}
    assert all((tmp_path / "out" / name).read_bytes() == (bundle / name).read_bytes() for name in names)
    assert lines[-1] == ("- Made of the model abcd; `model_card.md` says what it was made from and what it is worth.")
    assert json.loads((tmp_path / "out" / "exported-files.json").read_text())["wake_words"] == ["hey robin"]
    assert exported(bundle / "model.int8.onnx", "onnx", tmp_path / "small")[0] == names
    WakewordModel(tmp_path / "out")


def test_a_judge_on_an_encoder_in_a_folder_is_told_to_need_it(bundle: Path, tmp_path: Path) -> None:
    assert "encoder" not in "".join(exported(bundle, "onnx", tmp_path / "before")[1])
    judge = load_model(bundle / "judge.onnx")
    card = WakewordModel(bundle).card
    set_card(judge, {**card, "judge": {"encoder": {"name": "whisper", "content": "abcd", "licence": "MIT"}}})
    write_model(judge, bundle / "judge.onnx")
    export_target(bundle, "onnx", tmp_path / "out")
    assert "`judge.onnx` needs the folder `encoder`" in (tmp_path / "out" / "README.md").read_text()
    set_card(judge, {**card, "judge": {"second": {"policy": "each"}}})
    write_model(judge, bundle / "judge.onnx")
    export_target(bundle, "onnx", tmp_path / "two")
    assert "`judge.onnx` needs the folder `second_judge`" in (tmp_path / "two" / "README.md").read_text()


def test_of_a_file_with_a_name_of_its_own_nothing_beside_it_is_taken(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.onnx").rename(bundle / "robin.onnx")
    (bundle / "model_card.md").unlink()
    names, lines = exported(bundle / "robin.onnx", "onnx", tmp_path / "out")
    assert names == {"robin.onnx"} and "`wakeword detect robin.onnx" in lines[2] and "model_card" not in lines[-1]


def test_torch_takes_the_program(exports, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no program of torch; a build with export\.torch\.enabled: true"):
        export_target(bundle, "torch", tmp_path / "out")
    export_program(exports("tiny_conv")[1], WakewordModel(bundle).card, bundle / "model.pt2")
    names, lines = exported(bundle, "torch", tmp_path / "out")
    assert names == {"model.pt2", "model_card.md"} and "[batch, 64, 151] to scores [batch, 2]" in lines[2]
    (bundle / "model.pt2").write_bytes(b"\x80\x04N.")
    with pytest.raises(ArtifactError, match="is no program of this project"):
        export_target(bundle, "torch", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_openwakeword_takes_the_files_of_every_word(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"format; a build with export\.openwakeword\.enabled: true has one"):
        export_target(bundle, "openwakeword", tmp_path / "out")
    folder = bundle / "openwakeword"
    folder.mkdir()
    with_head(folder / "hey_robin.onnx", "hey robin")
    (folder / "notes.txt").write_bytes(b"no model")
    names, _ = exported(bundle, "openwakeword", tmp_path / "out")
    assert names == {"hey_robin.onnx", "hey_robin.tflite", "model_card.md"}
    assert (tmp_path / "out" / "hey_robin.tflite").read_bytes() == (folder / "hey_robin.tflite").read_bytes()


def with_head(path: Path, phrase: str) -> None:
    """Write a head for openWakeWord as an ONNX file, and beside it as one of TensorFlow Lite."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what writes TensorFlow Lite files")
    heads = JudgeHeads([JudgeHead(1, JudgeHeadConfig(channels=8))]).eval()
    write_word(networks_of_word(heads, 0), path, {"phrase": phrase}, 18)


@pytest.mark.parametrize("name", ["hey_robin.onnx", "hey_robin.tflite"])
def test_openwakewords_files_are_looked_at(bundle: Path, tmp_path: Path, name: str) -> None:
    path = bundle / "openwakeword" / name
    with_head(path.with_suffix(".onnx"), "hey robin")
    data = path.read_bytes()
    for damaged in (b"", data[: len(data) // 2], b"junk" * 10):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=str(path)):
            export_target(bundle, "openwakeword", tmp_path / "out")
    with_head(path.with_suffix(".onnx"), "wren")
    with pytest.raises(ArtifactError, match=r"is of the wake word 'wren', which .* does not know"):
        export_target(bundle, "openwakeword", tmp_path / "out")
    path.with_suffix(".onnx").unlink()
    shutil.copy(
        str(resources.files("pyopen_wakeword") / "models" / "melspectrogram.tflite"), path.with_suffix(".tflite")
    )
    with pytest.raises(ArtifactError, match=r"but a model of openWakeWord's takes FLOAT32 \[1, steps, 96\]"):
        export_target(bundle, "openwakeword", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_edited_head_is_not_handed_on_and_one_that_cannot_be_looked_at_is_said(
    bundle: Path, tmp_path: Path, caplog, monkeypatch
) -> None:
    path = bundle / "openwakeword" / "hey_robin.onnx"
    with_head(path, "hey robin")

    def absent(data: bytes) -> None:
        raise MissingDependencyError("the schema is missing")

    monkeypatch.setattr(openwakeword, "parse_tflite", absent)
    export_target(bundle, "openwakeword", tmp_path / "out")
    assert "hey_robin.tflite was not looked at before it is handed on: the schema is missing" in caplog.text
    edited = onnx.load(path)
    edited.graph.node[0].name = "edited"
    onnx.save(edited, path)
    with pytest.raises(ArtifactError, match=r"hey_robin\.onnx was altered since it was exported"):
        export_target(bundle, "openwakeword", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_esphome_takes_model_and_manifest_and_adds_the_configuration_of_a_board(bundle: Path, tmp_path: Path) -> None:
    with_microcontroller(bundle)
    names, _ = exported(bundle, "esphome", tmp_path / "out")
    assert names == {"hey_robin.tflite", "hey_robin.json", "esp32-s3.yaml", "model_card.md"}
    board = (tmp_path / "out" / "esp32-s3.yaml").read_text()
    assert board == ESPHOME.read_text()
    with_microcontroller(bundle, stem="wren")
    (bundle / "hey_robin.json").unlink()
    assert exported(bundle, "esphome", tmp_path / "wren")[0] >= {"wren.tflite", "wren.json"}
    models = yaml.safe_load((tmp_path / "wren" / "esp32-s3.yaml").read_text())["micro_wake_word"]["models"]
    assert models == [{"model": "wren.json"}]


def test_without_a_model_for_microcontrollers_the_settings_that_build_one_are_named(
    bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as refused:
        export_target(bundle, "esphome", tmp_path / "out")
    assert str(refused.value) == (
        f"{bundle} holds no model for microcontrollers; a build with export.tflite.enabled: true, "
        "features.frontend.kind: micro and training.model.arch: mixednet has one"
    )
    several(bundle)
    with pytest.raises(ArtifactError, match="one wake word each, but this one has hey robin, wren; train one for each"):
        export_target(bundle, "esphome", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def several(folder: Path) -> None:
    """Make the model one of two wake words, as far as it says."""
    model = load_model(folder / "model.onnx")
    card = {**WakewordModel(folder).card, "labels": ["_negative", "hey robin", "wren"]}
    set_card(model, card)
    write_model(model, folder / "model.onnx")


def test_a_model_of_several_words_is_named_by_all_of_them(bundle: Path, tmp_path: Path) -> None:
    several(bundle)
    for name in ("model.int8.onnx", "model.streaming.onnx", "judge.onnx"):
        shutil.copy(bundle / "model.onnx", bundle / name)
    export_target(bundle, "onnx", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text().startswith("# hey robin and wren for onnxruntime\n")


def test_what_is_of_another_word_is_not_mixed_in(bundle: Path, tmp_path: Path) -> None:
    with_microcontroller(bundle, "alexa")
    with pytest.raises(ArtifactError, match=r"is of the wake word 'alexa', but .* of 'hey robin'"):
        export_target(bundle, "esphome", tmp_path / "out")
    model = load_model(bundle / "model.onnx")
    set_card(model, {**WakewordModel(bundle).card, "phrase": "alexa"})
    write_model(model, bundle / "model.int8.onnx")
    with pytest.raises(ArtifactError, match=r"model\.int8\.onnx is of another wake word"):
        export_target(bundle, "onnx", tmp_path / "out")


def test_a_bundle_from_elsewhere_is_looked_at(bundle: Path, tmp_path: Path, caplog, monkeypatch) -> None:
    manifest = with_microcontroller(bundle)
    good = manifest.with_suffix(".tflite").read_bytes()
    manifest.with_suffix(".tflite").write_bytes(good[: len(good) // 2])
    with pytest.raises(ArtifactError, match="is no model for a microcontroller"):
        export_target(bundle, "esphome", tmp_path / "out")
    manifest.with_suffix(".tflite").write_bytes(good + bytes(MAX_BYTES))
    with pytest.raises(ArtifactError, match=r"has more than the 262,144 bytes that a microcontroller is given"):
        export_target(bundle, "esphome", tmp_path / "out")
    manifest.with_suffix(".tflite").write_bytes(good)

    def absent(path: Path) -> None:
        raise MissingDependencyError("the schema is missing")

    monkeypatch.setattr(reading, "read_tflite", absent)
    export_target(bundle, "esphome", tmp_path / "out")
    assert "was not looked at before it is handed on: the schema is missing" in caplog.text
    manifest.write_text(manifest.read_text().replace("0.9", "1.7"))
    with pytest.raises(ArtifactError, match="probability_cutoff"):
        export_target(bundle, "esphome", tmp_path / "other")
    edited = onnx.load(bundle / "model.int8.onnx")
    edited.graph.node[0].name = "edited"
    onnx.save(edited, bundle / "model.int8.onnx")
    with pytest.raises(ArtifactError, match=r"model\.int8\.onnx was altered since it was exported \(graph altered\)"):
        export_target(bundle, "onnx", tmp_path / "other")
    (bundle / "judge.onnx").unlink()
    (bundle / "judge.onnx").symlink_to("/etc/passwd")
    (bundle / "model.int8.onnx").unlink()
    with pytest.raises(WakewordError, match="leads outside"):
        export_target(bundle, "onnx", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_phrase_changes_nothing_in_the_readme_but_itself(bundle: Path, tmp_path: Path) -> None:
    model = load_model(bundle / "model.onnx")
    phrase = "<b>hey\n# robin</b>"
    set_card(model, {**WakewordModel(bundle).card, "phrase": phrase, "labels": ["_negative", phrase]})
    write_model(model, bundle / "robin.onnx")
    export_target(bundle / "robin.onnx", "onnx", tmp_path / "out")
    lines = (tmp_path / "out" / "README.md").read_text().splitlines()
    assert len(lines) == 5 and lines[0] == "# &lt;b&gt;hey \\# robin&lt;/b&gt; for onnxruntime"


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_no_model_is_a_sentence(tmp_path: Path, target: str) -> None:
    with pytest.raises(ArtifactError, match="there is no model at"):
        export_target(tmp_path, target, tmp_path / "out")
