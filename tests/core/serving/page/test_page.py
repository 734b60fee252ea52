"""The page in a real browser: what is heard, shown and said."""

import numpy as np
import pytest
from chromium import REFUSED, colours
from page_server import NOWHERE, running
from tone_model import RATE, tones

from wakeword_core.audio import from_pcm16, write_audio
from wakeword_core.runtime import Detector

pytestmark = [pytest.mark.browser, pytest.mark.server]

COUNT_TONES = """
window.tones = 0;
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...given) { window.tones++; return start.apply(this, given); };
"""
ONE_RATE = """
const Usual = AudioContext;
window.AudioContext = class extends Usual {
  constructor(options) {
    if (options?.sampleRate) throw new DOMException("one rate only", "NotSupportedError");
    super();
  }
};
"""
SLOW_MICROPHONE = """
const usual = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) =>
  new Promise((resolve) => (window.allow = () => resolve(usual(wanted))));
"""
NO_MICROPHONES = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined });"


def ready(page):
    page.locator("#listen:enabled").wait_for()
    return page


def detected(page) -> list[list[str]]:
    """Rows of the list, oldest first."""
    return [row.split("\t") for row in page.locator("#detections tr").all_inner_texts()][::-1]


def rows_of(events) -> list[list[str]]:
    return [[f"0:{event.time:05.2f}", event.label, f"{event.score:.3f}"] for event in events]


def score_file(page, path) -> None:
    page.set_input_files("#file", path)
    page.locator("#state", has_text="detected").wait_for()


def hear(page, *words) -> None:
    page.click("text=Start the microphone")
    for word in words:
        page.locator("#detections tr", has_text=word).first.wait_for()


def test_the_microphone_is_heard_and_shown(visit, address) -> None:
    page = ready(visit(address, COUNT_TONES))
    assert "in this browser, with onnxruntime-web" in page.inner_text("#runs")
    hear(page, "low", "high")
    assert page.inner_text("#state") == "Listening." and "for a chunk of 40 ms" in page.inner_text("#latency")
    assert page.evaluate("document.getElementById('level').value") > 0
    assert page.evaluate("window.tones") == len(detected(page))
    for picture in ("scores", "waveform", "mel"):
        assert colours(page, picture) > 3
    page.click("text=Stop the microphone")
    assert page.inner_text("#state") == "Ready."
    before = page.inner_text("#span")
    page.wait_for_timeout(200)
    assert page.inner_text("#span") == before


def test_where_the_sample_rate_is_fixed_the_page_changes_it_and_muted_it_makes_no_sound(visit, address) -> None:
    page = ready(visit(address, COUNT_TONES + ONE_RATE))
    page.uncheck("text=Sound at each detection")
    hear(page, "low")
    assert page.evaluate("window.tones") == 0


def test_without_onnxruntime_web_the_server_scores_and_the_page_says_why(
    visit, tone_models, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("npm_config_registry", NOWHERE)
    with running(tone_models[0], tmp_path, token="s3cret") as at:
        page = visit(at.url, complaint="401 (Unauthorized)")
        page.fill("text=access token", "wrong")
        assert page.is_hidden("role=alert")
        page.keyboard.press("Enter")
        page.locator("role=alert", has_text="The token is wrong").wait_for()
        page.fill("text=access token", "s3cret")
        page.keyboard.press("Enter")
        ready(page)
        assert "on the server, since it cannot run in this browser" in page.inner_text("#runs")
        assert NOWHERE in page.inner_text("#runs") and page.is_checked("text=on the server")
        hear(page, "low")
        page.close()


def test_a_file_has_the_detections_of_python_in_both_places_and_at_every_threshold(
    visit, address, model, recording
) -> None:
    page, pcm = ready(visit(address)), tones()
    score_file(page, recording)
    expected = rows_of(model.detect(pcm))
    assert len(expected) == 2 and detected(page) == expected
    page.check("text=on the server")
    page.locator("#runs", has_text="on the server").wait_for()
    score_file(page, recording)
    assert detected(page) == expected
    page.focus("#threshold")
    page.keyboard.press("End")
    assert detected(page) == [] and page.is_visible("text=None yet.")
    for threshold in (0.3, 0.97):
        page.locator("#threshold").fill(str(threshold))
        assert detected(page) == rows_of(model.detect(pcm, threshold)) != expected
    page.click("text=The model's own")
    assert detected(page) == expected and page.inner_text("#chosen") == "0.600"


def test_a_file_that_ends_with_the_word_has_it_at_its_end(visit, address, model, tmp_path) -> None:
    ends = (
        pcm for pcm in (tones()[:end] for end in range(12_000, 20_000, 160))
        if len(model.detect(pcm)) > len(Detector(model).process(pcm))
    )  # fmt: skip
    pcm = next(ends)
    write_audio(tmp_path / "end.wav", from_pcm16(pcm), RATE)
    page = ready(visit(address))
    score_file(page, tmp_path / "end.wav")
    assert detected(page) == rows_of(model.detect(pcm)) != []
    page.check("text=on the server")
    page.locator("#runs", has_text="on the server").wait_for()
    score_file(page, tmp_path / "end.wav")
    assert detected(page) == rows_of(model.detect(pcm))


def test_files_of_other_rates_and_channels_are_brought_to_the_models_and_others_refused(
    visit, address, tmp_path
) -> None:
    left = from_pcm16(tones(rate=44_100))
    write_audio(tmp_path / "stereo.wav", np.stack([left, 0.5 * left], 1), 44_100)
    (tmp_path / "text.wav").write_text("hello")
    page = ready(visit(address))
    score_file(page, tmp_path / "stereo.wav")
    assert [word for _, word, _ in detected(page)] == ["low", "high"]
    assert page.inner_text("#state") == "stereo.wav: 2 detected in 4.0 s."
    page.set_input_files("#file", tmp_path / "text.wav")
    page.locator("role=alert", has_text="text.wav is no audio that this browser can decode.").wait_for()
    assert page.inner_text("#state") == ""


def test_a_microphone_that_cannot_be_had_is_a_sentence(visit, address) -> None:
    page = ready(visit(address, REFUSED))
    page.click("text=Start the microphone")
    page.locator("role=alert", has_text="This page may not use the microphone: allow it").wait_for()
    assert page.is_enabled("text=Start the microphone")
    insecure = ready(visit(address, NO_MICROPHONES))
    insecure.click("text=Start the microphone")
    insecure.locator("role=alert", has_text="over HTTPS or on localhost").wait_for()


def test_the_model_moves_while_it_listens_and_a_server_that_goes_away_is_a_sentence(
    visit, tone_models, onnxruntime_web_cache
) -> None:
    with running(tone_models[0], onnxruntime_web_cache) as at:
        page = ready(visit(at.url))
        page.click("text=Start the microphone")
        page.locator("#detections tr").first.wait_for()
        page.check("text=on the server")
        page.locator("#runs", has_text="on the server").wait_for()
        page.locator("#state", has_text="Listening.").wait_for()
        page.locator("#detections tr").first.wait_for()
    page.locator("role=alert", has_text="The connection to the server is lost").wait_for()
    assert page.is_visible("text=Start the microphone")


def test_what_is_begun_last_counts(visit, address, recording) -> None:
    page = ready(visit(address, SLOW_MICROPHONE))
    page.click("text=Start the microphone")
    score_file(page, recording)
    page.evaluate("window.allow()")
    page.locator("#listen:enabled").wait_for()
    assert page.inner_text("#listen") == "Start the microphone" and len(detected(page)) == 2
    page.evaluate("document.querySelector('[value=server]').click()")
    page.set_input_files("#file", recording)
    page.locator("#state", has_text="2 detected in 4.0 s").wait_for()
    assert page.is_checked("text=on the server") == ("on the server" in page.inner_text("#runs"))


def test_the_card_is_told_before_the_model_is_there(visit, address) -> None:
    page = visit(address)
    page.locator("#card", has_text="Key").wait_for()
    card = page.inner_text("#card")
    for fact in ("low, high", "0123456789abcdef", "0.600 (balanced)", "3.0 % in its test", "0.25 an hour", "CC-BY-4.0"):
        assert fact in card
    assert page.title() == page.inner_text("h1") == "low, high"


def test_it_fits_a_telephone_can_be_read_and_has_names_for_all_that_is_used(visit, address) -> None:
    page = ready(visit(address))
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for role, name in (
        ("button", "Start the microphone"),
        ("slider", "Threshold"),
        ("checkbox", "Sound at each detection"),
        ("radio", "in this browser"),
        ("meter", "Level"),
        ("img", "Waveform"),
        ("group", "The model runs"),
    ):
        assert page.get_by_role(role, name=name).count() == 1, (role, name)
    colour = """(name) => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    }"""
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.add(tuple(page.evaluate(colour, "ground")))
        for front, back in (
            ("ink", "panel"), ("soft", "panel"), ("soft", "ground"), ("on-accent", "accent"), ("alarm", "alarm-ground"),
            ("word-1", "panel"), ("word-2", "panel"), ("word-3", "panel"), ("word-4", "panel"),
        ):  # fmt: skip
            assert contrast(page.evaluate(colour, front), page.evaluate(colour, back)) >= 4.5, (scheme, front, back)
    assert len(grounds) == 2


def test_without_a_model_card_it_tells_what_validation_gave(visit, tone_models, onnxruntime_web_cache) -> None:
    with running(tone_models[1], onnxruntime_web_cache) as at:
        page = visit(at.url)
        page.locator("#card", has_text="12.5 % on validation").wait_for()
        page.close()


def contrast(one, other) -> float:
    """As WCAG 2.2 defines it."""

    def luminance(colour) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


RESAMPLE = """async ([from, to, hertz]) => {
  const context = new OfflineAudioContext(1, from / 4, from), chunks = [];
  await context.audioWorklet.addModule("/microphone_worklet.js");
  const node = new AudioWorkletNode(context, "microphone", { processorOptions: { rate: to, samples: 640 } });
  node.port.onmessage = ({ data }) => chunks.push(...data);
  const wave = new Float32Array(from / 4).map((_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / from));
  const buffer = new AudioBuffer({ length: from / 4, sampleRate: from });
  buffer.copyToChannel(wave, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(node).connect(context.destination);
  source.start();
  await context.startRendering();
  await new Promise((resolve) => setTimeout(resolve, 100));
  return chunks;
}"""


def test_the_microphones_rate_becomes_the_models(visit, address) -> None:
    page = ready(visit(address))
    for rate in (8_000, RATE, 44_100, 48_000):
        found = np.array(page.evaluate(RESAMPLE, [rate, RATE, 1_000]), float)
        assert len(found) >= RATE / 4 - 1_300
        expected = 16_384 * np.sin(2 * np.pi * 1_000 * np.arange(len(found)) / RATE)
        np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=60)
    beyond = np.array(page.evaluate(RESAMPLE, [48_000, RATE, 10_000]), float)
    assert np.abs(beyond[200:-200]).max() < 0.01 * 16_384


RECORD = """async () => {
  const recorder = new MediaRecorder(await navigator.mediaDevices.getUserMedia({ audio: true })), parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start();
  await new Promise((resolve) => setTimeout(resolve, 2500));
  await new Promise((resolve) => { recorder.onstop = resolve; recorder.stop(); });
  const { mimeType } = recorder, body = new Blob(parts, { type: mimeType });
  const answer = await fetch("v1/verify", { method: "POST", headers: { "Content-Type": mimeType }, body });
  return { mimeType, verdict: await answer.json() };
}"""


def test_what_the_browser_records_is_heard(visit, address) -> None:
    recorded = visit(address).evaluate(RECORD)
    assert "webm" in recorded["mimeType"] or "mp4" in recorded["mimeType"]
    assert recorded["verdict"]["seconds"] == pytest.approx(2.5, abs=0.5) and recorded["verdict"]["events"]
