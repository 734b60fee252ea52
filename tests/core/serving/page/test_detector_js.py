"""detector.js against the same in Python, on the same sound."""

import base64

import numpy as np
import pytest
from tone_model import tones

from wakeword_core.config import DetectorConfig
from wakeword_core.runtime import Detector
from wakeword_core.runtime.detector import StreamingDetector, handicaps_of, wake_scores
from wakeword_core.runtime.streaming import GraphScorer, StreamingModel

pytestmark = [pytest.mark.browser, pytest.mark.server]

SCORE_AND_DETECT = """async ({ model, card, pcm, sizes }) => {
  const { module } = await (await fetch("ort")).json();
  const ort = await import(new URL(module, document.baseURI)), { Detector, Scorer } = await import("/detector.js");
  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const session = await ort.InferenceSession.create(bytes(model)), sound = new Int16Array(bytes(pcm).buffer);
  const [scorer, detector, points, events] = [new Scorer(ort, session, card), new Detector(ort, session, card), [], []];
  for (let start = 0, turn = 0; start < sound.length; start += sizes[turn++ % sizes.length]) {
    const chunk = sound.slice(start, start + sizes[turn % sizes.length]);
    points.push(...(await scorer.push(chunk)));
    events.push(...(await detector.process(chunk)));
  }
  return { points, events };
}"""
DECIDE = """async (cases) => {
  const { Decision } = await import("/detector.js");
  return cases.map(({ threshold, detector, points, handicaps }) => {
    const decision = new Decision(threshold, { detector, labels: ["_negative", "a", "b"], handicaps });
    return points.map(([time, ...scores]) => decision.push({ time, scores })).filter(Boolean);
  });
}"""


@pytest.fixture(scope="module")
def page(context, address):
    page = context.new_page()
    page.goto(address)
    return page


def text(values) -> str:
    return base64.b64encode(bytes(values)).decode()


@pytest.mark.parametrize("kind", [0, 1], ids=["native", "windows"])
def test_scores_and_events_are_those_of_python_whatever_the_chunks(page, tone_models, kind) -> None:
    model, pcm = StreamingModel(tone_models[kind]), tones(9.0)
    times, scores = GraphScorer(model).push(pcm)
    events = Detector(model).process(pcm)
    assert {event.label for event in events} == {"low", "high"}
    given = {"model": text(model.path.read_bytes()), "card": model.card, "pcm": text(pcm.tobytes())}
    for sizes in ([640], [1, 333, 5_000], [200_000]):
        found = page.evaluate(SCORE_AND_DETECT, {**given, "sizes": sizes})
        np.testing.assert_array_equal([one["time"] for one in found["points"]], times)
        np.testing.assert_allclose([one["scores"] for one in found["points"]], scores, atol=1e-4)
        assert [(one["time"], one["label"]) for one in found["events"]] == [(one.time, one.label) for one in events]
        np.testing.assert_allclose([one["score"] for one in found["events"]], [one.score for one in events], atol=1e-4)


def test_a_sound_too_short_for_a_score_has_none(page, tone_models) -> None:
    model = StreamingModel(tone_models[0])
    given = {"model": text(model.path.read_bytes()), "card": model.card, "pcm": text(bytes(400)), "sizes": [37]}
    assert page.evaluate(SCORE_AND_DETECT, given) == {"points": [], "events": []}


def test_decisions_are_those_of_python_whatever_the_rule(page) -> None:
    generator, cases, expected = np.random.default_rng(0), [], []
    for _ in range(40):
        smoothing = int(generator.integers(1, 6))
        detector = DetectorConfig(
            smoothing=smoothing,
            votes=int(generator.integers(0, smoothing + 1)),
            hold=int(generator.integers(1, 4)),
            off_ratio=float(generator.choice([0.3, 0.6, 1.0])),
            rearm_seconds=float(generator.choice([0.2, 1.0])),
            lockout_seconds=float(generator.choice([0.0, 0.5, 1.0])),
        )
        scores = np.clip(np.cumsum(generator.normal(0, 0.2, (100, 2)), axis=0) % 2 - 0.5, -0.001, 1.001)
        times, threshold = 0.04 * np.arange(100), float(generator.uniform(0.2, 0.9))
        handicaps = [{}, {"b": 3.0}, {"a": 0.001, "b": 10.0}][int(generator.integers(3))]
        points = [[time, 0.0, *row] for time, row in zip(times.tolist(), scores.tolist(), strict=True)]
        case = {"threshold": threshold, "detector": detector.model_dump(), "points": points}
        cases.append({**case, "handicaps": handicaps} if handicaps else case)
        rule = StreamingDetector(threshold, detector)
        wake, best = wake_scores([row[1:] for row in points], handicaps_of(["_negative", "a", "b"], handicaps))
        words = (" ab"[place] for place in best)
        pushed = (rule.push(*one) for one in zip(times.tolist(), wake.tolist(), words, strict=True))
        expected.append([event for event in pushed if event])
    found = page.evaluate(DECIDE, cases)
    assert [[(one["time"], one["score"], one["label"]) for one in events] for events in found] == expected
    assert sum(map(len, expected)) > 50


def test_a_score_that_is_no_number_is_an_error(page) -> None:
    case = {"threshold": 0.5, "detector": DetectorConfig().model_dump(), "points": [[0.0, 0.0, None, None]]}
    tried = f"async (cases) => {{ cases[0].points[0][2] = NaN; return ({DECIDE})(cases).catch(String); }}"
    assert "not finite" in page.evaluate(tried, [case])
