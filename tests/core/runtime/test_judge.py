"""A model and its judge: the gate, what is asked when, and what both decide."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_judge import BIAS as FIRST_BIAS
from small_judge import HOP, HOPS, JUDGE, POINTS, STATES, TAIL, WINDOW, log_odds_of, save_judge
from small_models import bursts, save_model

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import ArtifactError
from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.exported import seal
from wakeword_core.runtime.judge import JudgedModel, judged
from wakeword_core.runtime.judge_file import Judge, log_odds
from wakeword_core.runtime.live import open_model, stream_scorer
from wakeword_core.runtime.model import detect_blocks
from wakeword_core.runtime.streaming import Stream


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


def by_the_rule(model, pcm):
    """The rule as it is written, score by score."""
    times, scores = model.score_audio(pcm)
    padded = np.r_[np.zeros(WINDOW, np.int16), pcm]
    loud, result = -np.inf, []
    for time, score in zip(times, scores[:, 1:], strict=True):
        loud = time if score[0] >= JUDGE["gate"] else loud
        odds = -np.inf
        if time - loud <= JUDGE["hangover_seconds"] + 1e-6:
            first, end = round(times[0] * 16_000), round(time * 16_000)
            look = first + (end - first) // HOP * HOP
            said = log_odds_of(from_pcm16(padded[look : look + WINDOW]))
            odds = (np.clip(log_odds(score)[0], -6, 6) + said) / 2
        result.append(1 / (1 + np.exp(-odds)))
    return times, np.asarray(result)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 5))
def test_scores_are_those_of_the_rule(together, samples, seed) -> None:
    pcm = bursts(4, seed)[:samples]
    times, scores = together.score_audio(pcm)
    expected_times, expected = by_the_rule(together.model, pcm)
    assert np.array_equal(times, expected_times)
    assert np.allclose(scores[:, 1], expected, atol=1e-5)
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


GATE = 0.6
BIAS = -4.0
"""Of a second judge: it says less than the first."""


def save_two(folder, model, policy="each", gate=GATE, **changes):
    """A model with its judge and a second one beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(model.path.read_bytes())
    (folder / "second_judge").mkdir()
    second = save_judge(folder / "second_judge" / "judge.onnx", model, bias=BIAS, judge={"made_for": ""})
    sealed = onnx.load(second)
    seal(sealed)
    onnx.save(sealed, second)
    asked = {"graph": Judge(second).graph_digest, "gate": gate, "policy": policy, **changes}
    save_judge(folder / "judge.onnx", model, judge={"second": asked})
    return folder


def by_the_rule_of_two(pair, pcm, decide):
    """The rule of a second judge as it is written, from the scores of the model and the first."""
    times, scores = pair.score_audio(pcm)
    padded = np.r_[np.zeros(WINDOW, np.int16), pcm]
    result = []
    for time, score in zip(times, scores[:, 1:], strict=True):
        odds = -np.inf
        if score[0] >= GATE:
            first, end = round(times[0] * 16_000), round(time * 16_000)
            look = first + (end - first) // HOP * HOP
            said = log_odds_of(from_pcm16(padded[look : look + WINDOW])) + BIAS - FIRST_BIAS
            odds = decide(log_odds(score)[0], said)
        result.append(1 / (1 + np.exp(-odds)))
    return np.asarray(result)


@pytest.mark.parametrize(("policy", "decide"), [("each", min), ("mean", lambda before, said: (2 * before + said) / 3)])
def test_a_second_judge_hears_what_the_first_passed_and_decides_by_its_policy(model, tmp_path, policy, decide) -> None:
    both = open_model(save_two(tmp_path / policy, model, policy))
    pair = JudgedModel(both.model, both.judge, second=False)
    for seed in range(3):
        pcm = bursts(4, seed)
        expected, scores = by_the_rule_of_two(pair, pcm, decide), both.score_audio(pcm)[1]
        assert np.allclose(scores[:, 1], expected, atol=1e-5)
        heard, passed = (scores[:, 1] > 0).mean(), (pair.score_audio(pcm)[1][:, 1] > 0).mean()
        assert 0 < heard < passed < 1
        parts = [stream_scorer(both).push(pcm)[1], both.block_scorer().push(pcm)[1]]
        assert all(np.allclose(part, scores[: len(part)], atol=1e-5) for part in parts)
    assert len(both.files) == 3 and both.quiet_samples == pair.quiet_samples


def test_where_each_judge_has_to_agree_the_second_may_be_asked_elsewhere(model, tmp_path) -> None:
    """At one threshold, what the first passes here and the second there is what both pass."""
    folder, threshold, pcm = save_two(tmp_path / "each", model), 0.7, bursts(4, 1)
    both, here = open_model(folder), open_model(folder, second_elsewhere=True)
    assert both.second is not None and here.second is None and here.threshold == both.threshold
    there = both.score_audio(pcm)[1][:, 1] >= threshold
    assert there.any() and (here.score_audio(pcm)[1][:, 1] >= threshold)[there].all()
    (folder / "second_judge" / "judge.onnx").unlink()
    assert open_model(folder, second_elsewhere=True).second is None
    with pytest.raises(ArtifactError, match=r"second_judge/judge\.onnx, which is not there.*--alone"):
        open_model(folder)
    assert open_model(save_two(tmp_path / "mean", model, "mean"), second_elsewhere=True).second is not None


def test_another_second_judge_is_refused(model, tmp_path) -> None:
    with pytest.raises(ArtifactError, match="is another judge than"):
        open_model(save_two(tmp_path / "other", model, graph="0123"))
    with pytest.raises(ArtifactError, match="policy"):
        open_model(save_two(tmp_path / "odd", model, policy="any"))


def test_what_the_judge_denies_is_not_detected(model, tmp_path) -> None:
    pcm = bursts(4, 1)
    assert model.detect(pcm)
    silent = save_judge(tmp_path / "judge.onnx", model, bias=-60.0, judge={"hangover_seconds": 0.0})
    assert not detect_blocks(JudgedModel(model, Judge(silent)), [pcm])


def noise(samples):
    return np.random.default_rng(0).normal(0, 8_000, samples).clip(-32_768, 32_767).astype(np.int16)


@pytest.fixture
def heard(monkeypatch):
    """The hops of each run of a judge."""
    sizes, run = [], Stream.run
    monkeypatch.setattr(Stream, "run", lambda self, audio: sizes.append(len(audio) // HOP) or run(self, audio))
    return sizes


def test_a_judge_that_is_always_asked_hears_each_hop_once_and_few_at_once(model, tmp_path, heard) -> None:
    judge = Judge(save_judge(tmp_path / "judge.onnx", model, judge={"gate": 0.0}))
    always = JudgedModel(model, judge)
    del heard[:]
    times, _ = always.score_audio(np.tile(bursts(10), 6))
    looks = (round(times[-1] * 16_000) - round(times[0] * 16_000)) // HOP + 1
    assert sum(heard) == looks + HOPS - 1, "the first look takes its whole window"
    assert max(heard) <= 32, "an hour's would take a hundred times the memory of its sound"


def test_a_look_of_a_stream_costs_the_sound_since_the_last_one(together, heard) -> None:
    scorer = stream_scorer(together)
    del heard[:]
    for chunk in np.split(noise(48_000), 150):
        scorer.push(chunk)
    assert heard[0] == HOPS and set(heard[1:]) == {1} and len(heard) > 20


def test_a_gate_that_opens_again_soon_goes_on_where_the_judge_was(together, heard) -> None:
    loud, taken = noise(8_000), []
    for quiet in (5_000, 24_000):
        del heard[:]
        together.score_audio(np.r_[loud, np.zeros(quiet, np.int16), loud, np.zeros(32_000, np.int16)])
        taken.append(sum(heard))
    open_again = 2 * (8_000 + 16_000 * JUDGE["hangover_seconds"] + together.frontend.window_samples) / HOP
    assert taken[0] < taken[1] <= open_again + 2 * HOPS


def test_a_stream_keeps_no_more_sound_than_the_judge_can_hear(together) -> None:
    scorer = stream_scorer(together)
    for chunk in np.split(np.tile(bursts(10), 6), 240):
        scorer.push(chunk)
    assert len(scorer._sound) < 2 * WINDOW


def test_quiet_after_a_recording_outlasts_the_longer_window(model, tmp_path) -> None:
    judge = Judge(save_judge(tmp_path / "judge.onnx", model, judge={"gate": 0.0}))
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


def test_the_handicaps_are_those_of_both_together(model, tmp_path) -> None:
    """A threshold of 0.7 is one of 0.97 for a word whose odds are divided by so much."""
    slow, pcm = {**model.card["detector"], "smoothing": 1}, bursts(6, 1)
    plain, handicapped = (
        JudgedModel(model, Judge(save_judge(tmp_path / f"{place}.onnx", model, detector=slow, **card)))
        for place, card in enumerate(({}, {"handicaps": {"hey robin": (0.97 / 0.03) / (0.7 / 0.3)}}))
    )
    times = [[event.time for event in Detector(plain, threshold).process(pcm)] for threshold in (0.7, 0.97)]
    assert [event.time for event in Detector(handicapped).process(pcm)] == times[1] != times[0]
    assert model.handicaps is None and plain.handicaps is None


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
        {"judge": {"hop_samples": 100}},
        {"judge": {"hop_samples": 10**9}},
        {"judge": {"hops": 33}},
        {"judge": {"hops": 0}},
        {"judge": {"gate": -1}},
        {"streaming": None},
        {"states": {}},
        {"states": {**STATES, "audio_tail": {**STATES["audio_tail"], "shape": [1, TAIL]}}},
        {"states": {**STATES, "audio_tail": {**STATES["audio_tail"], "shape": [10**7]}}},
        {"states": {**STATES, "earlier": {**STATES["earlier"], "shape": [1, 1, HOPS]}}},
        {"judge": {"hangover_seconds": "long"}},
        {"labels": ["_negative", "one", "two"]},
    ],
)
def test_a_card_that_does_not_fit_is_refused(model, tmp_path, changes) -> None:
    with pytest.raises(ArtifactError):
        Judge(save_judge(tmp_path / "judge.onnx", model, **changes))


def test_a_card_that_tells_nothing_of_the_judge_is_refused(model, tmp_path) -> None:
    path = save_judge(tmp_path / "judge.onnx", model)
    file = onnx.load(path)
    for asked in (5, None, ["window_samples"], "window_samples"):
        file.metadata_props[0].value = json.dumps({**json.loads(file.metadata_props[0].value), "judge": asked})
        onnx.save(file, path)
        with pytest.raises(ArtifactError):
            Judge(path)


def test_a_judge_that_cannot_take_as_much_as_it_may_get_is_refused(model, tmp_path) -> None:
    path = save_judge(tmp_path / "judge.onnx", model)
    file = onnx.load(path)
    samples = next(one for one in file.graph.input if one.name == "audio").type.tensor_type.shape.dim[0]
    samples.dim_value = HOP
    onnx.save(file, path)
    with pytest.raises(ArtifactError, match="fails on a first run"):
        Judge(path)


def test_a_judge_of_the_older_form_is_to_be_built_again(model, tmp_path) -> None:
    with pytest.raises(ArtifactError, match="older form, which hears whole windows; build the judge again"):
        Judge(save_judge(tmp_path / "judge.onnx", model, judge={"window_samples": 22_752}))


def test_windows_are_scored_each_by_itself(together) -> None:
    windows = from_pcm16(np.stack([bursts(2, seed)[:WINDOW] for seed in range(4)]))
    found = log_odds(together.judge.score_sound(windows))[:, 1]
    assert np.allclose(found, [log_odds_of(window) for window in windows], rtol=1e-4)
    assert together.judge.score_sound(windows[:0]).shape == (0, 2)


def test_an_ordinary_model_is_no_judge(model) -> None:
    with pytest.raises(ArtifactError):
        Judge(model.path)


def test_a_judge_is_no_model_by_itself(together) -> None:
    with pytest.raises(ArtifactError, match="is a judge, which decides with a model only"):
        open_model(together.judge.path)
