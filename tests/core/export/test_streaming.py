"""A model on a stream against the same model on windows, whatever the chunks."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.export import streaming
from wakeword_core.export.cost import needs
from wakeword_core.export.onnx_graph import write_model
from wakeword_core.export.streaming import export_streaming, streaming_figures
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.live import WindowScorer, stream_scorer
from wakeword_core.runtime.model import detect_blocks
from wakeword_core.runtime.streaming import GraphScorer, StreamingModel

RATE = 16_000
BANDS, FRAMES = 16, 51


def card(**frontend) -> dict:
    return {
        "phrase": "hey robin",
        "labels": ["_negative", "hey robin"],
        "sample_rate": RATE,
        "frontend": FrontendConfig(**{"n_mels": BANDS, "window_frames": FRAMES, **frontend}).model_dump(mode="json"),
        "detector": DetectorConfig(lockout_seconds=0.3).model_dump(mode="json"),
        "threshold": 0.6,
        "operating_points": {},
    }


class Clip:
    """A network of windows, layer by layer, as the exporter writes them."""

    def __init__(self, seed: int = 0, bands: int = BANDS) -> None:
        self.random, self.nodes, self.constants, self.steps = np.random.default_rng(seed), [], {}, FRAMES
        self.bands, self.channels, self.now = bands, bands, "log_mel"

    def add(self, operator, *constants, source=None, **attributes):
        names = []
        for values in constants:
            names.append(f"c{len(self.constants)}")
            self.constants[names[-1]] = values
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [source or self.now, *names], [out], **attributes))
        self.now = out
        return out

    def crop(self, start, source=None):
        return self.add("Slice", *(np.asarray([one]) for one in (start, 2**62, 2)), source=source)

    def conv(self, channels, kernel, stride=1, dilation=1, group=1, **attributes):
        lost = (kernel - 1) * dilation
        if (spare := (self.steps - 1 - lost) % stride) and not attributes:
            self.crop(spare)
            self.steps -= spare
        shape = (channels, self.channels // group, kernel)
        weight = self.random.normal(0, 1.5 / np.sqrt(self.channels * kernel), shape).astype(np.float32)
        bias = self.random.normal(0, 0.1, channels).astype(np.float32)
        given = {"strides": [stride], "dilations": [dilation], "group": group, **attributes}
        out = self.add("Conv", weight, bias, **given)
        self.steps, self.channels = (self.steps - 1 - lost) // stride + 1, channels
        return out

    def residual(self, kernel, dilation):
        before = self.now
        after = self.conv(self.channels, kernel, dilation=dilation)
        cropped = self.crop((kernel - 1) * dilation, before)
        self.nodes.append(helper.make_node("Add", [cropped, after], [f"t{len(self.nodes)}"]))
        self.now = f"t{len(self.nodes) - 1}"
        self.add("Relu")

    def save(self, folder, take=None, **frontend):
        self.add("Gather", np.asarray(self.steps - 1 if take is None else take), axis=2)
        self.nodes.append(helper.make_node("Softmax", [self.now], ["scores"], axis=1))
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", self.bands, FRAMES])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
            [numpy_helper.from_array(values, name) for name, values in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        entry = model.metadata_props.add()
        entry.key, entry.value = "wakeword", json.dumps(card(**frontend))
        folder.mkdir(exist_ok=True)
        write_model(model, folder / "model.onnx")
        return folder / "model.onnx"


def layers(clip: Clip, stride: int = 3, dilations=(1, 2)) -> Clip:
    clip.add("Sub", np.full((BANDS, 1), -6.0, np.float32))
    clip.conv(8, stride + 2, stride=stride)
    clip.add("Relu")
    for dilation in dilations:
        clip.residual(2, dilation)
    clip.conv(2, 3)
    clip.add("Mul", np.asarray([0.1], np.float32))
    return clip


def bursts(seconds: float, seed: int = 0) -> np.ndarray:
    generator, count = np.random.default_rng(seed), round(seconds * RATE)
    level = np.repeat(generator.choice([3.0, 300.0, 8_000.0], size=count // 4_000 + 1), 4_000)[:count]
    return (generator.normal(0, 1, count) * level).clip(-32_768, 32_767).astype(np.int16)


def pushed(scorer, pcm, sizes):
    pieces, start, turn = [], 0, 0
    while start < len(pcm):
        size = max(1, sizes[turn % len(sizes)])
        pieces.append(scorer.push(pcm[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([one for one, _ in pieces]), np.concatenate([one for _, one in pieces])


@pytest.fixture(scope="module", params=["native", "windows", "mel_db", "mfcc"])
def both(request, tmp_path_factory):
    """(window model, its streaming model): native, or windows of a ring buffer because something stands in the way."""
    kind = request.param
    clip = layers(Clip())
    frontend = {"kind": kind, "n_mfcc": BANDS} if kind in ("mel_db", "mfcc") else {}
    if kind == "windows":
        clip = Clip()
        clip.conv(8, 3, pads=[1, 1])
        clip.steps = FRAMES
        clip.conv(2, 9)
    path = clip.save(tmp_path_factory.mktemp(kind), **frontend)
    summary = export_streaming(path, 1e-4, path.parent)
    assert summary.native == (kind in ("native", "mfcc")) == (not summary.reason)
    return WakewordModel(path)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 40_000), st.lists(st.integers(0, 9_000), min_size=1, max_size=6), st.integers(0, 3))
def test_any_chunks_give_the_scores_and_events_of_the_window_model(both, samples, sizes, seed) -> None:
    pcm = bursts(2.6, seed)[:samples]
    times, expected = both.score_audio(pcm)
    assert isinstance(stream_scorer(both), GraphScorer)
    if len(pcm):
        found_times, found = pushed(GraphScorer(both.streaming), pcm, sizes)
        np.testing.assert_array_equal(found_times, times)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    detector, events = Detector(both), []
    for start in range(0, len(pcm), max(1, sizes[0])):
        events += detector.process(pcm[start : start + max(1, sizes[0])])
    events += detector.finish()
    assert [(one.time, one.label) for one in events] == [(one.time, one.label) for one in both.detect(pcm)]


def test_a_recording_is_looked_through_by_the_streaming_model_alone(both) -> None:
    pcm = bursts(5.0)
    threshold = float(np.quantile(both.score_audio(pcm)[1][:, 1], 0.8))
    expected = both.detect(pcm, threshold)
    found = detect_blocks(both.streaming, np.array_split(pcm, 7), threshold)
    assert found and [(one.time, one.label) for one in found] == [(one.time, one.label) for one in expected]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in expected], atol=1e-4)


def test_the_scores_that_are_compared_are_not_all_alike(both) -> None:
    assert both.score_audio(bursts(2.6))[1][:, 1].std() > 0.01


@settings(max_examples=6, deadline=None)
@given(stride=st.integers(1, 5), dilations=st.lists(st.integers(1, 3), max_size=2), chunks=st.lists(st.integers(1, 9)))
def test_every_frame_has_the_score_of_the_window_that_ends_there(tmp_path_factory, stride, dilations, chunks) -> None:
    path = layers(Clip(stride), stride, dilations).save(tmp_path_factory.mktemp("m"))
    assert export_streaming(path, 1e-4, path.parent).native
    model = WakewordModel(path)
    pcm = bursts(0.9, stride)
    frames = np.concatenate([model.front_end.silence(FRAMES - 1), model.front_end(pcm)], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(frames, FRAMES, axis=1).transpose(1, 0, 2)
    stream, tail = model.streaming.stream(), 512 - 160
    stream.set_tail(pcm[:tail] / np.float32(32_768))
    found, start = [], tail
    for hops in [*chunks, len(pcm)]:
        block = pcm[start : start + hops * 160]
        block = block[: len(block) // 160 * 160]
        if len(block):
            found.append(stream.run(block / np.float32(32_768)))
        start += len(block)
    np.testing.assert_allclose(np.concatenate(found), model.score_windows(np.ascontiguousarray(windows)), atol=1e-4)


def test_each_step_is_computed_once(tmp_path) -> None:
    """The states are what the layers still need, no window of features."""
    summary = export_streaming(layers(Clip()).save(tmp_path), 1e-4, tmp_path)
    shapes = {name: one["shape"] for name, one in StreamingModel(tmp_path).facts["states"].items()}
    assert sorted(shapes.values()) == sorted([[352], [1, 16, 1, 4], [1, 8, 1, 3], [1, 8, 1, 6], [1, 8, 1, 6]])
    assert summary.state_bytes == 4 * (352 + 16 * 4 + 8 * 15)


def operators(folder) -> list[str]:
    return [node.op_type for node in onnx.load(folder / "model.streaming.onnx").graph.node]


def normalise(clip: Clip) -> Clip:
    """Scaling and shifting of each channel, and of all."""
    shape = (clip.channels, 1)
    clip.add("Sub", np.linspace(-7, -5, clip.channels, dtype=np.float32).reshape(shape))
    clip.add("Div", np.linspace(1, 3, clip.channels, dtype=np.float32).reshape(shape))
    clip.add("Mul", np.asarray([1.5], np.float32))
    clip.add("Add", np.asarray(0.25, np.float32))
    return clip


@pytest.mark.parametrize("first", ["convolution", "depthwise", "activation", "both"])
def test_normalisation_is_in_the_first_weights_or_before_what_has_none(tmp_path, first) -> None:
    clip = normalise(Clip())
    if first == "both":  # one reader has weights and the other has none
        clip.residual(3, 1)
    elif first == "activation":
        clip.add("Relu")
    elif first == "depthwise":
        clip.conv(BANDS, 3, group=BANDS, kernel_shape=[3])
    clip.conv(8, 3)
    clip.add("Relu")
    clip.conv(2, 3)
    clip.add("Mul", np.asarray([0.1], np.float32))
    assert export_streaming(clip.save(tmp_path), 1e-4, tmp_path).native
    found, more = operators(tmp_path), 0 if first == "convolution" else 1
    # of the front end one subtraction, an addition and four products; of the end one product
    assert (found.count("Div"), found.count("Sub")) == (0, 1)
    assert found.count("Mul") == 4 + 1 + more
    assert found.count("Add") == 1 + more + (first == "both")
    assert WakewordModel(tmp_path).score_audio(bursts(1.0))[1].std() > 0.01


def test_onnxruntime_takes_the_layers_for_convolutions_of_images_with_their_sums(tmp_path) -> None:
    """Its fast kernels, which know that both sides of a residual are of one shape."""
    import onnxruntime

    clip = Clip()
    clip.conv(32, 3)
    clip.residual(3, 2)
    clip.conv(2, 3)
    export_streaming(clip.save(tmp_path), 1e-4, tmp_path)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "run.onnx"), 3
    onnxruntime.InferenceSession(tmp_path / "model.streaming.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "run.onnx").graph.node
    if not any(node.op_type == "ReorderInput" for node in nodes):
        pytest.skip("this processor has no kernels of that kind")
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert {node.domain for node in convolutions} == {"com.microsoft.nchwc"}
    assert any(len(node.input) == 4 for node in convolutions)  # the fourth is what is added
    assert not any(node.op_type == "Relu" for node in nodes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda clip: clip.add("ReduceMax", np.asarray([2]), keepdims=1), "as a whole"),
        (lambda clip: clip.add("Mul", np.linspace(0, 1, FRAMES, dtype=np.float32)), "from step to step"),
        (lambda clip: clip.add("Pad", np.asarray([0, 0, 3, 0, 0, 0])), "pads"),
        (lambda clip: clip.add("Slice", *(np.asarray([one]) for one in (0, 40, 2))), "more than the beginning"),
        (lambda clip: clip.add("Slice", *(np.asarray([one]) for one in (0, BANDS, 1))), "more than the beginning"),
    ],
)
def test_what_needs_the_window_whole_gets_it(tmp_path, change, reason) -> None:
    clip = Clip()
    change(clip)
    clip.add("ReduceMean", np.asarray([2]), keepdims=1)
    clip.steps = 1
    clip.conv(2, 1)
    summary = export_streaming(clip.save(tmp_path), 1e-4, tmp_path)
    assert not summary.native and reason in summary.reason
    assert StreamingModel(tmp_path).facts["reason"] == summary.reason


def test_what_no_graph_can_hold_has_no_streaming_model_and_says_why(tmp_path) -> None:
    path = layers(Clip()).save(tmp_path / "log_mel")
    figures = streaming_figures(path, 1e-4, path.parent)
    assert figures["streaming_native"] and figures["streaming_bytes"] and not figures["streaming_reason"]
    clip = Clip(bands=40)
    clip.conv(2, 9)
    path = clip.save(tmp_path / "micro", kind="micro", n_mels=40)
    assert list(figures := streaming_figures(path, 1e-4, path.parent)) == ["streaming_reason"]
    assert figures["streaming_reason"].startswith("the front end micro")
    assert [one.name for one in path.parent.iterdir()] == ["model.onnx"]
    model = WakewordModel(path)
    assert model.streaming is None and isinstance(stream_scorer(model), WindowScorer)
    assert needs(path).macs_per_second > 0


def test_a_strided_layer_off_the_last_frame_and_an_early_step_need_windows(tmp_path) -> None:
    early = layers(Clip()).save(tmp_path / "a", take=0)
    assert "last step" in export_streaming(early, 1e-4, tmp_path / "a").reason
    off = Clip()
    off.conv(8, 3, stride=5, kernel_shape=[3])
    off.conv(2, 2)
    assert "last frame" in export_streaming(off.save(tmp_path / "b"), 1e-4, tmp_path / "b").reason


def test_a_difference_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(streaming, "streaming_parity", lambda clip, model: float("nan"))
    with pytest.raises(WakewordError, match="more than"):
        export_streaming(layers(Clip()).save(tmp_path), 1e-4, tmp_path)


def test_equal_models_give_equal_files_and_the_front_end_is_small(tmp_path) -> None:
    path = layers(Clip()).save(tmp_path)
    export_streaming(path, 1e-4, tmp_path)
    first = (tmp_path / "model.streaming.onnx").read_bytes()
    export_streaming(path, 1e-4, tmp_path)
    assert (tmp_path / "model.streaming.onnx").read_bytes() == first
    model = onnx.load_model_from_string(first)
    assert model.ir_version == helper.find_min_ir_version_for(model.opset_import)
    assert len(first) < path.stat().st_size + 40_000


def test_a_streaming_model_of_another_model_is_refused_and_none_means_windows(tmp_path) -> None:
    path = layers(Clip(0)).save(tmp_path)
    assert isinstance(stream_scorer(WakewordModel(path)), WindowScorer)
    export_streaming(path, 1e-4, tmp_path)
    shutil.copy(path, tmp_path / "renamed.onnx")
    assert isinstance(stream_scorer(WakewordModel(tmp_path / "renamed.onnx")), WindowScorer)
    layers(Clip(1)).save(tmp_path)
    with pytest.raises(ArtifactError, match="was not made from"):
        Detector(WakewordModel(path))
    with pytest.raises(ArtifactError, match="no usable stream"):
        StreamingModel(path)


def test_streams_alone_and_several_at_once(tmp_path) -> None:
    path = layers(Clip()).save(tmp_path)
    export_streaming(path, 1e-4, tmp_path)
    expected = WakewordModel(path).score_audio(bursts(1.0))[1]
    path.unlink()
    model = StreamingModel(tmp_path)
    one, other = stream_scorer(model), stream_scorer(model)
    found = []
    for start in range(0, RATE, 1_280):
        found.append(one.push(bursts(1.0)[start : start + 1_280])[1])
        other.push(bursts(1.0, 5)[start : start + 1_280])
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)
    one.reset()
    np.testing.assert_allclose(one.push(bursts(1.0))[1], expected, atol=1e-4)


def test_runs_without_torch_and_onnx(tmp_path) -> None:
    export_streaming(layers(Clip()).save(tmp_path), 1e-4, tmp_path)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import numpy as np\nfrom wakeword_core.runtime import Detector, WakewordModel\n"
        f"m = WakewordModel({str(tmp_path)!r}); d = Detector(m); d.process(np.zeros(32000, np.int16))\n"
        "assert type(d._scorer).__name__ == 'GraphScorer'\n"
        "heavy = {'sklearn', 'pandas', 'dagster', 'sounddevice', 'soundfile', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def without(tree: dict, name: str) -> dict:
    return {key: value for key, value in tree.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, state: facts | {"states": {}},
        lambda facts, state: without(facts, "states"),
        lambda facts, state: facts | {"native": "perhaps"},
        lambda facts, state: facts | {"states": facts["states"] | {"more": state}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"shape": [10**13]}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"shape": [10**7, 10**7]}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"shape": [-3]}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"shape": []}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"shape": [7]}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"start": [1, 2, 3]}}},
        lambda facts, state: facts | {"states": facts["states"] | {"audio_tail": state | {"start": ["a"]}}},
        lambda facts, state: (
            facts | {"states": facts["states"] | {"audio_tail": state | {"start": [10**30], "type": "int64"}}}
        ),
        *(
            lambda facts, state, kind=kind: facts | {"states": facts["states"] | {"audio_tail": state | {"type": kind}}}
            for kind in ("object", "float64", "int64", "U9", 3)
        ),
    ],
)
def test_a_card_of_states_that_cannot_be_is_one_sentence(tmp_path, change) -> None:
    export_streaming(layers(Clip()).save(tmp_path), 1e-4, tmp_path)
    path = tmp_path / "model.streaming.onnx"
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "wakeword")
    tree = json.loads(entry.value)
    tree["streaming"] = change(tree["streaming"], tree["streaming"]["states"]["audio_tail"])
    entry.value = json.dumps(tree)
    onnx.save(model, path)
    with pytest.raises(ArtifactError, match=str(path)) as error:
        StreamingModel(path)
    assert "\n" not in str(error.value)
