"""The page with a model and a recording of one's own: both are named by the environment."""

import os
from pathlib import Path

import pytest
from chromium import hearing_chromium
from page_server import running

from wakeword_core.audio import read_pcm16
from wakeword_core.runtime import WakewordModel

MODEL, RECORDING = (os.environ.get(f"WAKEWORD_TEST_{name}") for name in ("MODEL", "RECORDING"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.skipif(
        not (MODEL and RECORDING),
        reason="needs WAKEWORD_TEST_MODEL, a bundle, and WAKEWORD_TEST_RECORDING, a WAV file with its words",
    ),
]


def test_the_words_in_a_real_recording_are_heard(onnxruntime_web_cache) -> None:
    model = WakewordModel(MODEL)
    expected = model.detect(read_pcm16(Path(RECORDING), model.sample_rate))
    assert expected, "the recording holds no wake word that this model hears"
    with running(Path(MODEL), onnxruntime_web_cache) as at, hearing_chromium(RECORDING) as browser:
        page = browser.new_page()
        page.goto(at.url)
        page.click("text=Start the microphone")
        page.locator("#detections tr", has_text=expected[0].label).first.wait_for()
        page.set_input_files("#file", RECORDING)
        page.locator("#state", has_text=f"{len(expected)} detected").wait_for()
        rows = [row.split("\t") for row in page.locator("#detections tr").all_inner_texts()][::-1]
        assert [(label, score) for _, label, score in rows] == [(one.label, f"{one.score:.3f}") for one in expected]
