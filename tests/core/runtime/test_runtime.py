import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from small_models import CARD, FRONTEND, bursts, edited, save_model

from wakeword_core import audio
from wakeword_core.audio import read_audio, read_pcm_blocks, resample, to_pcm16, write_audio
from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.features.mel import NumpyFrontend, front_end
from wakeword_core.runtime import Detector, WakewordModel, window_scores
from wakeword_core.runtime import model as runtime
from wakeword_core.runtime.detector import detect
from wakeword_core.runtime.live import WindowScorer
from wakeword_core.runtime.model import detect_blocks, score_files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return WakewordModel(save_model(tmp_path_factory.mktemp("m") / "model.onnx"))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40_000), st.lists(st.integers(0, 9_000), min_size=1, max_size=8), st.integers(0, 3))
def test_any_chunking_gives_the_same_scores_and_events(model, samples, sizes, seed) -> None:
    pcm = bursts(2.6, seed)[:samples]
    whole, detector = WindowScorer(model), Detector(model)
    expected_times, expected = whole.push(pcm)
    pieces, events, start, turn, scorer = [], [], 0, 0, WindowScorer(model)
    while start < len(pcm):
        size = max(1, sizes[turn % len(sizes)])
        pieces.append(scorer.push(pcm[start : start + size]))
        events += detector.process(pcm[start : start + size])
        start, turn = start + size, turn + 1
    events += detector.finish()
    if pieces:
        assert np.array_equal(np.concatenate([t for t, _ in pieces]), expected_times)
        assert np.array_equal(np.concatenate([s for _, s in pieces]), expected)
    times, scores = model.score_audio(pcm)
    np.testing.assert_allclose(times, expected_times)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert [e.label for e in events] == [e.label for e in model.detect(pcm)]
    np.testing.assert_allclose([e.time for e in events], [e.time for e in model.detect(pcm)])


def test_the_test_audio_has_events_and_varied_scores(model) -> None:
    events = model.detect(bursts(8.0))
    assert len(events) >= 2 and {event.label for event in events} == {"hey robin"}
    assert model.score_audio(bursts(8.0))[1][:, 1].std() > 0.1
    assert model.detect(bursts(8.0), threshold=1.1) == []


def test_sensitivities_are_thresholds_of_the_model(model) -> None:
    assert {name: one["threshold"] for name, one in model.operating_points.items()} == {
        "strict": 0.95, "balanced": 0.6, "lenient": 0.3,
    }  # fmt: skip
    pcm = bursts(8.0)
    for name, threshold in (("strict", 0.95), ("lenient", 0.3)):
        expected = model.detect(pcm, threshold=threshold)
        assert model.detect(pcm, point=name) == expected
        live = Detector(model, point=name).process(pcm)
        np.testing.assert_allclose([one.time for one in live], [one.time for one in expected])
    assert model.detect(pcm) == model.detect(pcm, point="balanced") != model.detect(pcm, point="lenient")
    with pytest.raises(ConfigError, match="no sensitivity 'loud'; it has strict, balanced, lenient"):
        Detector(model, point="loud")
    with pytest.raises(ConfigError, match="give one of them"):
        model.detect(pcm, threshold=0.5, point="strict")


def test_the_models_own_detector_is_used(tmp_path) -> None:
    detector = DetectorConfig(lockout_seconds=0.3, smoothing=3, votes=3, hold=2).model_dump(mode="json")
    slow = WakewordModel(save_model(tmp_path / "m.onnx", {**CARD, "detector": detector}))
    pcm = bursts(8.0)
    times, scores = slow.score_audio(pcm)
    assert slow.detect(pcm) == detect(times, scores[:, 1], 0.6, slow.detector, ["hey robin"] * len(times))
    assert slow.detect(pcm)[0].time > WakewordModel(save_model(tmp_path / "n.onnx")).detect(pcm)[0].time


class Watched(NumpyFrontend):
    """A front end of which is told what it is given and what it makes of that."""

    def __init__(self, frontend, sample_rate, tell) -> None:
        super().__init__(frontend, sample_rate)
        self.tell = tell

    def __call__(self, samples):
        mel = super().__call__(samples)
        self.tell(samples, mel)
        return mel


def test_a_handicap_is_another_threshold_of_the_word_wherever_it_is_heard(model, tmp_path) -> None:
    slow = {**CARD["detector"], "smoothing": 1}
    plain = WakewordModel(save_model(tmp_path / "m.onnx", {**CARD, "detector": slow}))
    card = {**CARD, "detector": slow, "handicaps": {"hey robin": 20.0}}
    lowered = WakewordModel(save_model(tmp_path / "n.onnx", card))
    pcm, raised = bursts(9.0), 0.6 * 20 / (0.6 * 20 + 0.4)
    expected = [event.time for event in plain.detect(pcm, threshold=raised)]
    assert expected and expected != [event.time for event in plain.detect(pcm)]
    assert [event.time for event in lowered.detect(pcm)] == expected
    assert [event.time for event in Detector(lowered).process(pcm)] == pytest.approx(expected)
    write_audio(tmp_path / "a.wav", pcm.astype(np.float32) / 32_768, 16_000)
    score_files(lowered, [tmp_path / "a.wav"], tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as scores:
        high = scores["score"] >= 0.6
    np.testing.assert_array_equal(high, plain.score_audio(pcm)[1][:, 1] >= raised)


def test_blocks_do_not_show_and_bound_memory(model, monkeypatch) -> None:
    pcm = bursts(9.0)
    times, scores = model.score_audio(pcm)
    lengths = []
    monkeypatch.setattr(runtime, "_BLOCK_STRIDES", 5)
    monkeypatch.setattr(model, "front_end", Watched(FRONTEND, 16_000, lambda x, mel: lengths.append(len(x))))
    again_times, again = model.score_audio(pcm)
    np.testing.assert_array_equal(times, again_times)
    np.testing.assert_allclose(scores, again, atol=1e-6)
    assert max(lengths) <= (5 * model.stride_frames - 1) * 160 + 512


def test_streaming_makes_each_frame_once(model, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(model, "front_end", Watched(FRONTEND, 16_000, lambda x, mel: made.append(mel)))
    pcm = bursts(3.0)
    scorer = WindowScorer(model)
    for start in range(0, len(pcm), 700):
        scorer.push(pcm[start : start + 700])
    frames = sum(mel.shape[1] for mel in made)
    total = 1 + (len(pcm) - 512) // 160
    assert total - model.stride_frames < frames <= total


def test_window_scores_agrees_with_score_audio(model) -> None:
    pcm = bursts(2.0)
    ends, scores = window_scores(
        front_end(pcm, FRONTEND, 16_000), model.front_end.silence(50), model.stride_frames, model.score_windows, 7
    )
    times, expected = model.score_audio(pcm)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose([model.window_end(end) for end in ends], times)
    assert 50 in ends  # the first whole window


def test_decibels_are_clamped_in_each_window_that_is_heard_and_stored_ones_are_left_alone(tmp_path) -> None:
    frontend = FRONTEND.model_copy(update={"kind": "mel_db", "top_db": 20.0})
    path = save_model(tmp_path / "db.onnx", {**CARD, "frontend": frontend.model_dump(mode="json")})
    model, pcm = WakewordModel(path), bursts(1.5)
    _, scores = model.score_audio(pcm)
    frames = np.concatenate([model.front_end.silence(50), model.front_end(pcm)], axis=1)
    ends = range(50 % model.stride_frames, frames.shape[1] - 50, model.stride_frames)
    windows = np.stack([frames[:, end : end + 51] for end in ends])
    clamped = np.maximum(windows, windows.max(axis=(1, 2), keepdims=True) - 20.0)
    np.testing.assert_allclose(scores, model.score_windows(clamped), atol=1e-6)
    assert np.abs(scores - model.score_windows(windows)).max() > 1e-3
    np.testing.assert_allclose(WindowScorer(model).push(pcm)[1], scores, atol=1e-6)


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """A model of microcontrollers, whose front end has a state."""
    frontend = FrontendConfig(kind="micro", window_frames=51).model_dump(mode="json")
    path = tmp_path_factory.mktemp("micro") / "model.onnx"
    return WakewordModel(save_model(path, {**CARD, "frontend": frontend}, n_mels=40, scale=3_000))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=6), st.integers(0, 3))
def test_a_front_end_keeps_its_state_over_a_stream_however_it_is_cut(micro, sizes, seed) -> None:
    pcm = bursts(5.0, seed)
    frames = np.concatenate([micro.front_end.silence(50), micro.front_end(pcm)], axis=1)
    ends = range(50 % micro.stride_frames, frames.shape[1] - 50, micro.stride_frames)
    expected = micro.score_windows(np.stack([frames[:, end : end + 51] for end in ends]))
    assert np.ptp(expected[10:, 1]) > 0.02
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "_BLOCK_STRIDES", 3)
        np.testing.assert_allclose(micro.score_audio(pcm)[1], expected, atol=1e-6)
    live, other, start, found = WindowScorer(micro), Detector(micro), 0, []
    while start < len(pcm):
        chunk = pcm[start : start + sizes[len(found) % len(sizes)]]
        found.append(live.push(chunk)[1])
        other.process(chunk[::-1])  # a stream beside it changes nothing
        start += len(chunk)
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)


def test_a_new_stream_begins_with_a_fresh_front_end(micro) -> None:
    detector, pcm = Detector(micro), bursts(3.0)
    detector.process(pcm)
    first = detector.scores
    detector.process(pcm)
    assert np.abs(detector.scores[:5] - first[:5]).max() > 1e-3
    detector.reset()
    detector.process(pcm)
    np.testing.assert_array_equal(detector.scores, first)


def test_short_audio_has_scores_after_quiet_and_none_at_all_has_none(model) -> None:
    times, scores = model.score_audio(bursts(0.3))
    assert len(times) == len(scores) > 0
    padded = np.concatenate([model.front_end.silence(50), front_end(bursts(0.3), FRONTEND, 16_000)], axis=1)
    end = round((times[-1] * 16_000 - 512) / 160)
    np.testing.assert_allclose(model.score_windows(padded[None, :, end : end + 51])[0], scores[-1], atol=1e-6)
    np.testing.assert_allclose(model.front_end.silence(1), front_end(np.zeros(512, np.int16), FRONTEND, 16_000))
    assert [one.shape for one in model.score_audio(np.empty(0, np.int16))] == [(0,), (0, 2)]
    assert model.score_windows(np.empty((0, 16, 51), np.float32)).shape == (0, 2)


def test_hop_longer_than_the_transform(tmp_path) -> None:
    frontend = FRONTEND.model_copy(update={"n_fft": 256, "win_length": 256, "hop_length": 640})
    sparse = WakewordModel(save_model(tmp_path / "m.onnx", {**CARD, "frontend": frontend.model_dump(mode="json")}))
    pcm, scorer = bursts(3.0), WindowScorer(sparse)
    pieces = [scorer.push(pcm[start : start + 333])[1] for start in range(0, len(pcm), 333)]
    np.testing.assert_allclose(np.concatenate(pieces), sparse.score_audio(pcm)[1], atol=1e-5)


def test_reset_begins_anew(model) -> None:
    detector = Detector(model)
    first = detector.process(bursts(5.0))
    assert first and detector.score > 0
    detector.reset()
    assert detector.score == 0 and detector.process(bursts(5.0)) == first


def early(path):
    """A scorer that hears a word 0.3 s after its end, when windows hold quiet behind it, as trained ones do."""

    def edit(model) -> None:
        weight = np.zeros((16, 51), np.float32)
        weight[:, 5:20], weight[:, 30:45] = 1 / 240, -1 / 240
        gemm = np.stack([-weight.ravel(), weight.ravel()], 1)
        for tensor, values in zip(model.graph.initializer, (gemm, np.asarray([10, -10], np.float32)), strict=True):
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return WakewordModel(edited(path, edit))


def test_a_recording_that_ends_with_the_word_is_heard_as_one_that_goes_on(tmp_path) -> None:
    model = early(tmp_path / "m.onnx")
    word = np.concatenate(
        [np.zeros(16_000, np.int16), np.random.default_rng(0).normal(0, 9_000, 6_400).astype(np.int16)]
    )
    longer = np.concatenate([word, np.zeros(32_000, np.int16)])
    (expected,) = model.detect(longer)
    (found,) = model.detect(word)
    assert found.score == pytest.approx(expected.score, abs=1e-6) and found.label == expected.label
    assert expected.time > found.time == len(word) / 16_000  # no later than the recording's end
    live = Detector(model)
    assert live.process(word) == [] and live.finish() == [found]
    scores = model.score_audio(word)[1]
    np.testing.assert_allclose(scores, model.score_audio(longer)[1][: len(scores)], atol=1e-6)  # of its own windows


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (44_100, 1), (8_000, 3)])
def test_a_file_in_blocks_has_the_detections_of_the_whole(model, tmp_path, monkeypatch, rate, channels) -> None:
    whole = resample(bursts(7.0, 2).astype(np.float32) / 32_768, 16_000, rate)
    levels = np.linspace(0.5, 1.0, channels)
    soundfile.write(tmp_path / "a.wav", whole[:, None] * levels, rate, subtype="PCM_16")
    pcm = to_pcm16(read_audio(tmp_path / "a.wav", 16_000))
    expected = model.detect(pcm)
    monkeypatch.setattr(audio, "_BLOCK_FRAMES", 3_333)
    monkeypatch.setattr(runtime, "_BLOCK_STRIDES", 7)
    found = detect_blocks(model, read_pcm_blocks(tmp_path / "a.wav", 16_000))
    assert len(found) >= 2 and [event.label for event in found] == [event.label for event in expected]
    np.testing.assert_allclose([event.time for event in found], [event.time for event in expected], atol=1e-9)
    np.testing.assert_allclose([event.score for event in found], [event.score for event in expected], atol=1e-3)
    blocks = list(read_pcm_blocks(tmp_path / "a.wav", 16_000))
    assert len(blocks) > 10 and max(map(len, blocks)) < 16_000
    assert np.abs(np.concatenate(blocks).astype(int) - pcm).max() <= 1


@pytest.mark.parametrize("wrong", [np.zeros(9, np.float32), np.zeros((9, 2), np.int16), [0, 1], np.zeros(9, np.uint8)])
def test_wrong_audio_is_one_clear_error(model, wrong) -> None:
    for take in (model.score_audio, Detector(model).process):
        with pytest.raises(DataError, match="int16"):
            take(wrong)


def test_wrong_windows_are_an_error(model) -> None:
    with pytest.raises(DataError, match="16, 51"):
        model.score_windows(np.zeros((1, 16, 50), np.float32))


def test_runs_without_torch(tmp_path) -> None:
    path = save_model(tmp_path / "model.onnx")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\nfrom wakeword_core.runtime import Detector, WakewordModel\n"
        f"m = WakewordModel({str(path)!r}); Detector(m).process(np.zeros(32000, np.int16))\n"
        "heavy = {'sklearn', 'pandas', 'dagster', 'mlflow', 'onnx', 'torchaudio', 'soundfile'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert sys.modules['torch'] is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys, wakeword_core.runtime as r; assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_files_are_scored_and_detected(model, tmp_path) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for seed, path in enumerate(paths):
        write_audio(path, bursts(3.0 + seed, seed).astype(np.float32) / 32_768, 16_000)
    assert score_files(model, paths[:1], tmp_path / "one.npz") > 0
    with np.load(tmp_path / "one.npz", allow_pickle=False) as one:
        assert set(one.files) == {"time", "score"}
        np.testing.assert_allclose(one["score"], model.score_audio(bursts(3.0))[1][:, 1], atol=1e-3)
    score_files(model, paths, tmp_path / "two.npz")
    with np.load(tmp_path / "two.npz", allow_pickle=False) as two:
        assert list(two["names"]) == [str(path) for path in paths]
        assert len(two["time"]) == len(two["score"]) == len(two["file_index"]) and set(two["file_index"]) == {0, 1}
    found, expected = detect_blocks(model, read_pcm_blocks(paths[1], 16_000)), model.detect(bursts(4.0, 1))
    assert expected and [event.time for event in found] == [event.time for event in expected]
    with pytest.raises(DataError, match="at least one"):
        score_files(model, [], tmp_path / "none.npz")
