"""A model and its judge: the gate, what is asked when, and what both decide."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from small_judge import JUDGE, POINTS, WINDOW, save_judge
from small_models import bursts, save_model

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import ArtifactError
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.exported import seal
from wakeword_core.runtime.judge import Judge, JudgedModel, judged, log_odds
from wakeword_core.runtime.live import open_model, stream_scorer
from wakeword_core.runtime.model import detect_blocks


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = save_model(tmp_path_factory.mktemp("m") / "model.onnx")
    sealed = onnx.load(path)
    seal(sealed)
    onnx.save(sealed, path)
    return WakewordModel(path)


@pytest.fixture(scope="module")
def together(model):
    save_judge(model.path.with_name("judge.onnx"), model)
    return judged(model)


def by_the_rule(model, judge, pcm):
    """The rule as it is written, score by score."""
    times, scores = model.score_audio(pcm)
    step = round(JUDGE["step_seconds"] * 16_000 / (model.stride_frames * model.frontend.hop_length))
    padded = np.r_[np.zeros(WINDOW, np.int16), pcm]
    loud, was_open, said, result = -np.inf, False, None, []
    for number, (time, score) in enumerate(zip(times, scores[:, 1], strict=True)):
        loud = time if score >= JUDGE["gate"] else loud
        is_open = time - loud <= JUDGE["hangover_seconds"] + 1e-6
        if is_open and (not was_open or number % step == 0):
            end = round(time * 16_000)
            said = log_odds(judge.score_sound(from_pcm16(padded[end : end + WINDOW])[None]))[0, 1]
        odds = (np.clip(log_odds(scores[number : number + 1])[0, 1], -6, 6) + said) / 2 if is_open else -np.inf
        result.append(1 / (1 + np.exp(-odds)))
        was_open = is_open
    return times, np.asarray(result)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 5))
def test_scores_are_those_of_the_rule(together, samples, seed) -> None:
    pcm = bursts(4, seed)[:samples]
    times, scores = together.score_audio(pcm)
    expected_times, expected = by_the_rule(together.model, together.judge, pcm)
    assert np.array_equal(times, expected_times)
    assert np.allclose(scores[:, 1], expected, atol=1e-6)
    assert np.allclose(scores.sum(axis=1), 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60_000), st.lists(st.integers(0, 9_000), min_size=1, max_size=8), st.integers(0, 3))
def test_any_chunking_gives_the_same_scores_and_events(together, samples, sizes, seed) -> None:
    pcm = bursts(4, seed)[:samples]
    expected = together.score_audio(pcm)
    detector, at, times, scores = Detector(together), 0, [], []
    while at < len(pcm):
        for size in (*sizes, 1_000):
            detector.process(pcm[at : at + size])
            times.append(detector.times)
            scores.append(detector.scores)
            at += size
    assert np.array_equal(np.concatenate([np.empty(0), *times]), expected[0])
    assert np.allclose(np.concatenate([np.empty((0, 2)), *scores]), expected[1], atol=1e-6)


def test_a_closed_gate_is_a_score_of_nothing(together) -> None:
    _, scores = together.score_audio(np.zeros(32_000, np.int16))
    assert len(scores)
    assert np.array_equal(scores[:, 1], np.zeros(len(scores)))


def test_what_the_judge_denies_is_not_detected(model, tmp_path) -> None:
    pcm = bursts(4, 1)
    assert model.detect(pcm)
    silent = save_judge(tmp_path / "judge.onnx", model, judge={"hangover_seconds": 0.0})
    file = onnx.load(silent)
    next(one for one in file.graph.initializer if one.name == "b").CopyFrom(
        numpy_helper.from_array(np.array([-60.0], np.float32), "b")
    )
    onnx.save(file, silent)
    assert not detect_blocks(JudgedModel(model, Judge(silent)), [pcm])


def test_a_judge_that_is_always_asked_gets_few_windows_at_once(model, tmp_path, monkeypatch) -> None:
    judge = Judge(save_judge(tmp_path / "judge.onnx", model, judge={"gate": 0.0, "step_seconds": 1e-6}))
    heard, score = [], judge.score_sound
    monkeypatch.setattr(judge, "score_sound", lambda windows: heard.append(len(windows)) or score(windows))
    times, _ = JudgedModel(model, judge).score_audio(np.tile(bursts(10), 6))
    assert sum(heard) == len(times)
    assert max(heard) <= 8, "all of an hour's would be 100 times the hour's sound"


def test_a_stream_keeps_no_more_sound_than_the_judge_can_hear(together) -> None:
    scorer = stream_scorer(together)
    for chunk in np.split(np.tile(bursts(10), 6), 240):
        scorer.push(chunk)
    assert len(scorer._sound) < 2 * WINDOW


def test_quiet_after_a_recording_outlasts_the_longer_window(model, tmp_path) -> None:
    for window_samples, step_seconds in ((WINDOW, 0.08), (WINDOW, 3.0)):
        asked = {"window_samples": window_samples, "step_seconds": step_seconds, "gate": 0.0}
        judge = Judge(save_judge(tmp_path / "judge.onnx", model, judge=asked))
        together, pcm = JudgedModel(model, judge), bursts(3)
        _, scores = together.score_audio(np.r_[pcm, np.zeros(together.quiet_samples + 80_000, np.int16)])
        after = round((len(pcm) + together.quiet_samples) / 16_000 / together.detector.stride_seconds)
        assert np.allclose(scores[after:], scores[-1]), "nothing is left of it"


def test_a_second_stream_begins_anew(together) -> None:
    pcm = bursts(2, 2)
    detector = Detector(together)
    first = (detector.process(pcm), detector.scores.copy())
    detector.reset()
    assert detector.process(pcm) == first[0]
    assert np.array_equal(detector.scores, first[1])


def test_the_judge_beside_a_model_is_used_unless_it_is_to_be_alone(together) -> None:
    assert isinstance(open_model(together.path), JudgedModel)
    assert isinstance(open_model(together.path.parent), JudgedModel)
    assert isinstance(open_model(together.path, alone=True), WakewordModel)
    assert open_model(together.path).threshold_at("balanced") == POINTS["balanced"]["threshold"]


def test_a_judge_of_another_model_is_refused(model, tmp_path) -> None:
    other = Judge(save_judge(tmp_path / "judge.onnx", model, judge={"made_for": "another"}))
    with pytest.raises(ArtifactError, match="was not made for"):
        JudgedModel(model, other)
    with pytest.raises(ArtifactError, match="differ in what they score"):
        JudgedModel(model, Judge(save_judge(tmp_path / "judge.onnx", model, labels=["_negative", "hello"])))
    detector = {**model.card["detector"], "stride_seconds": 2 * model.detector.stride_seconds}
    slow = Judge(save_judge(tmp_path / "judge.onnx", model, sample_rate=8_000, detector=detector))
    assert slow.stride_frames == model.stride_frames
    with pytest.raises(ArtifactError, match="differ in what they score"):
        JudgedModel(model, slow)


def test_a_judge_that_cannot_be_used_is_said_with_the_way_out(model, tmp_path) -> None:
    for name, damage in (("damaged", b"no model"), ("of another", None)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model.path.read_bytes())
        judge = save_judge(folder / "judge.onnx", model, judge={"made_for": "another"})
        if damage:
            judge.write_bytes(damage)
        with pytest.raises(ArtifactError, match=r"take judge.onnx away to use the model alone"):
            open_model(folder)
        assert open_model(folder, alone=True).phrase == model.phrase


@pytest.mark.parametrize(
    "changes",
    [
        {"judge": {"window_samples": 100}},
        {"judge": {"gate": -1}},
        {"judge": {"step_seconds": 0}},
        {"judge": {"hangover_seconds": "long"}},
        {"labels": ["_negative", "one", "two"]},
    ],
)
def test_a_card_that_does_not_fit_is_refused(model, tmp_path, changes) -> None:
    with pytest.raises(ArtifactError):
        Judge(save_judge(tmp_path / "judge.onnx", model, **changes))


def test_an_ordinary_model_is_no_judge(model) -> None:
    with pytest.raises(ArtifactError):
        Judge(model.path)


def test_a_judge_is_no_model_by_itself(together) -> None:
    with pytest.raises(ArtifactError, match="is a judge, which decides with a model only"):
        open_model(together.judge.path)
