import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wakeword_core.audio import from_pcm16, resample
from wakeword_core.errors import MissingDependencyError
from wakeword_core.recordings import vad
from wakeword_core.recordings.vad import SpeechDetector, energy_span, span_of, speech_runs
from wakeword_core.speech import espeak


@pytest.fixture(scope="module")
def detector():
    return SpeechDetector()


def speechlike(seconds=1.0):
    """A synthetic voice that counts, cut to a length."""
    pcm, rate = espeak.speak("one two three four five six seven", espeak.Voice(), rate=120)
    sound = resample(from_pcm16(pcm), rate, 16_000)
    return sound[np.flatnonzero(np.abs(sound) > 0.01)[0] :][: int(seconds * 16_000)]


def test_finds_the_speech_between_silences(detector):
    quiet = np.random.default_rng(0).normal(0, 1e-4, 16_000).astype(np.float32)
    span = detector.span(np.concatenate([quiet, speechlike(), quiet]), 0.5)
    assert span is not None
    assert span.start_seconds == pytest.approx(1.0, abs=0.25)
    assert span.end_seconds == pytest.approx(2.0, abs=0.35)
    assert 0.15 < span.ratio < 0.6


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 16_000])
def test_silence_of_any_length_holds_no_speech(detector, samples):
    assert detector.span(np.zeros(samples, np.float32), 0.5) is None


def test_equals_the_packages_own_frame_by_frame_model(detector):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = Path(importlib.util.find_spec("silero_vad").origin).parent / "data"
    session = onnxruntime.InferenceSession(str(folder / "silero_vad.onnx"), providers=["CPUExecutionProvider"])
    x = speechlike(0.9)[:14_100]
    padded = np.pad(x, (0, -len(x) % 512))
    state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros((1, 64), np.float32), []
    for frame in padded.reshape(-1, 1, 512):
        feed = {"input": np.concatenate([context, frame], axis=1), "state": state, "sr": np.array(16_000)}
        output, state = session.run(None, feed)
        expected.append(output.item())
        context = frame[:, -64:]
    assert detector.probabilities(x) == pytest.approx(np.array(expected), abs=1e-3)


def test_long_recordings_are_run_in_pieces_with_the_same_result(detector, monkeypatch):
    x = speechlike(2.0)
    whole = detector.probabilities(x)
    monkeypatch.setattr(vad, "_FRAMES_A_RUN", 7)
    assert detector.probabilities(x) == pytest.approx(whole, abs=1e-4)


def test_may_be_used_from_several_threads(detector):
    inputs = [speechlike(0.3 + 0.1 * index) for index in range(6)]
    alone = [detector.span(x, 0.5) for x in inputs]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda x: detector.span(x, 0.5), inputs)) == alone


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.1] * 10, None),
        ([0, 0, 0.9, 0.9, 0.9, 0, 0, 0, 0, 0], (2, 5, 0.3)),
        ([0, 0, 0.4, 0.9, 0.4, 0, 0, 0, 0, 0], (2, 5, 0.3)),
        ([0.4] * 10, None),
        ([0, 0.9, 0, 0, 0.9, 0.9, 0.9, 0, 0, 0], (4, 7, 0.3)),
        ([0.9, 0.9, 0.9, 0, 0, 0, 0, 0.9, 0.9, 0.9], (0, 10, 0.6)),
        ([0.9] * 10, (0, 10, 1.0)),
    ],
)
def test_spans_join_runs_and_leave_out_clicks(probabilities, expected):
    span = span_of(np.array(probabilities, np.float32), 0.5, 5_120)
    if expected is None:
        assert span is None
    else:
        start, end, ratio = expected
        assert (span.start_seconds, span.end_seconds) == pytest.approx((start * 0.032, end * 0.032))
        assert span.ratio == pytest.approx(ratio)


def test_each_stretch_of_speech_is_told_apart():
    probabilities = np.array([0, 0.9, 0.9, 0.9, 0.4, 0, 0, 0.9, 0, 0.9, 0.9, 0.9], np.float32)
    assert speech_runs(probabilities, 0.5) == [pytest.approx((0.032, 0.16)), pytest.approx((0.288, 0.384))]
    assert speech_runs(probabilities[:1], 0.5) == speech_runs(probabilities[:0], 0.5) == []


def test_a_span_never_ends_after_the_recording():
    assert span_of(np.full(10, 0.9, np.float32), 0.5, 5_000).end_seconds == 5_000 / 16_000


def test_energy_finds_a_quiet_burst():
    x = np.random.default_rng(0).normal(0, 1e-5, 16_000).astype(np.float32)
    x[6_400:9_600] += 1e-3 * np.sin(np.arange(3_200)).astype(np.float32)
    span = energy_span(x)
    assert (span.start_seconds, span.end_seconds, span.ratio) == (pytest.approx(0.4), pytest.approx(0.6), 0.0)
    assert energy_span(np.zeros(1_000, np.float32)).end_seconds == pytest.approx(1_000 / 16_000)
    assert energy_span(np.zeros(0, np.float32)).end_seconds == 0


def test_the_model_missing_is_said_clearly(monkeypatch):
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install silero-vad"):
        SpeechDetector()


def test_does_not_import_the_packages_torch_code(detector):
    assert "silero_vad" not in sys.modules
