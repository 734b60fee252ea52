"""A second judge: which models can be one, and what it makes of the judged model."""

import json
import shutil
from pathlib import Path

import onnx
import pytest
from loud_model import WORD, save_model
from small_judge import save_judge
from tiny_encoder import save_encoder

from wakeword_core.config import Config
from wakeword_core.config.judge import JudgeHeadConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError
from wakeword_core.graph.stages import judged as stage
from wakeword_core.judge.export import export_heads
from wakeword_core.judge.head import JudgeHead, JudgeHeads
from wakeword_core.judge.together import choose_together, measure_together, require_second
from wakeword_core.lineage.given import OUTSIDE, GivenModel, find_given
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.encoders import STEP_SAMPLES, open_encoder
from wakeword_core.runtime.exported import seal
from wakeword_core.runtime.judge import JudgedModel, judged
from wakeword_core.runtime.judge_file import open_judge
from wakeword_core.store.artifacts import ArtifactStore

QUICK = {"evaluation.tuning.enabled": False}


def sealed(path: Path) -> Path:
    file = onnx.load(path)
    seal(file)
    onnx.save(file, path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[WakewordModel, Path, Path]:
    """A model, the judge of its loud word, and a folder with another judge, which hears more."""
    folder = tmp_path_factory.mktemp("made")
    model = WakewordModel(sealed(save_model(folder / "model") / "model.onnx"))
    first = sealed(save_judge(folder / "judge.onnx", model, judge={"made_for": ""}))
    (folder / "other").mkdir()
    return model, first, sealed(save_judge(folder / "other" / "judge.onnx", model, bias=-2.0)).parent


def named(path: Path, folder: Path) -> GivenModel:
    return find_given(str(path), ArtifactStore(folder / "store"))


def test_only_with_a_second_judge_its_settings_decide() -> None:
    def decides(**judge) -> dict:
        return stage.STAGE.deciding_settings(Config(judge={"enabled": True, **judge}), None)

    assert decides() == decides(policy="mean", second_gate=0.3) and "judge.policy" not in decides()
    one = decides(second="judges/large")
    assert one == decides(second="elsewhere") and one["judge.policy"] == "each"
    assert one != decides(second="judges/large", policy="mean") != decides(second="judges/large", second_gate=0.3)


def test_it_is_named_by_folder_file_or_key(tmp_path) -> None:
    (tmp_path / "wakeword.yaml").write_text("judge: {enabled: true, second: judges/large}\n")
    config = load_config(tmp_path / "wakeword.yaml")
    folder = tmp_path / "judges" / "large"
    assert config.judge.second == str(folder)
    assert stage.second_judge(config) == {"second_judge": str(folder / "judge.onnx")}
    for name in ("0123456789ab", str(folder / "judge.onnx")):
        assert stage.second_judge(config.changed({"judge.second": name})) == {"second_judge": name}
    assert stage.second_judge(Config()) == {}


def test_what_is_no_judge_of_the_same_words_is_refused(made, tmp_path) -> None:
    model, first, _ = made
    config = Config(phrase=WORD)
    require_second(named(first, tmp_path), config)
    with pytest.raises(ConfigError, match="hears 'hey robin', but the model is to hear 'okay house'"):
        require_second(named(first, tmp_path), Config(phrase="okay house"))
    with pytest.raises(ConfigError, match="no judge; name the folder of a judge"):
        require_second(named(model.path, tmp_path), config)
    with pytest.raises(ConfigError, match="no seal"):
        require_second(named(save_judge(tmp_path / "judge.onnx", model), tmp_path), config)
    with pytest.raises(ConfigError, match="there is no model at"):
        named(tmp_path / "nothing" / "judge.onnx", tmp_path)


@pytest.fixture(scope="module")
def shards(project) -> Path:
    return project.build("audio_shards", "val")[0].path


def test_thresholds_are_those_of_all_together(made, shards, project, tmp_path) -> None:
    model, first, folder = made
    given = named(folder / "judge.onnx", tmp_path)
    assert given.stage == OUTSIDE
    config = project.config.changed({**QUICK, "judge.gate": 0.01, "judge.second_gate": 0.02})
    out = tmp_path / "out"
    out.mkdir()
    together, chosen = choose_together(model, first, shards, config, out, second=given)
    put = out / "second_judge" / "judge.onnx"
    assert put.read_bytes() == given.path.read_bytes() and not put.samefile(given.path)
    assert (together.judge.facts.second.policy, together.judge.facts.second.gate) == ("each", 0.02)
    shutil.copyfile(model.path, out / "model.onnx")
    assert judged(WakewordModel(out)).threshold == together.threshold == chosen.default.threshold
    figures = measure_together(together, chosen, shards, config, out)
    kept = json.loads((out / "together.json").read_text())["second"]
    assert 0 < figures["second_heard_share"] == kept["heard_share"] <= figures["heard_share"] <= 1
    assert kept["asked"]["words_asked"] <= figures["words_asked"] and figures["second_policy"] == "each"
    assert kept["first"]["misses"] <= figures["misses"]
    assert kept["first"]["false_alarm_count"] >= figures["false_alarm_count"]


def test_an_encoder_beside_it_is_put_beside_it(made, project, shards, tmp_path) -> None:
    model, first, _ = made
    encoder = open_encoder("transformers", save_encoder(tmp_path / "other" / "encoder"))
    heads = JudgeHeads([JudgeHead(1, JudgeHeadConfig(channels=8), encoder.numbers)]).eval()
    beside = {"name": "transformers", "content": encoder.content, "licence": "MIT"}
    asked = {"hop_samples": STEP_SAMPLES, "hops": 1, "gate": 0.0, "hangover_seconds": 0.0, "made_for": ""}
    export_heads(encoder, heads, {**model.card, "judge": {**asked, "encoder": beside}}, 18, 1e-3, tmp_path / "other")
    out = tmp_path / "out"
    out.mkdir()
    config = project.config.changed({**QUICK, "judge.second_gate": 0.999})  # it is hardly asked
    given = named(tmp_path / "other" / "judge.onnx", tmp_path)
    together, _ = choose_together(model, first, shards, config, out, second=given)
    assert together.second.facts.encoder.content == encoder.content
    assert {path.name for path in (out / "second_judge" / "encoder").iterdir()} == {
        "config.json", "model.safetensors", "preprocessor_config.json"
    }  # fmt: skip
    shutil.rmtree(tmp_path / "other")
    assert JudgedModel(model, open_judge(out)).second is not None
