"""A server with the page, a model that hears tones, and a browser whose microphone hears a file."""

import sys
from functools import partial
from pathlib import Path

import pytest
from chromium import hearing_chromium, visiting

from wakeword_core.audio import from_pcm16, write_audio
from wakeword_core.config import DetectorConfig
from wakeword_core.npm import NpmError
from wakeword_core.runtime import WakewordModel
from wakeword_core.serving.page.onnxruntime_web import PACKAGE

sys.path.insert(0, str(Path(__file__).parent))

from page_server import running
from tone_model import RATE, tone_model, tones

CACHE = Path(__file__).parents[4] / ".wakeword" / "cache"


@pytest.fixture(scope="session")
def onnxruntime_web_cache():
    """The folder of caches of this checkout, with onnxruntime-web in it."""
    try:
        PACKAGE.fetch(CACHE)
    except NpmError as error:
        pytest.skip(str(error))
    return CACHE


@pytest.fixture(scope="session")
def tone_models(tmp_path_factory):
    """The model that streams natively, and the same of windows with another rule of detections."""
    folder = tmp_path_factory.mktemp("tones")
    native = tone_model(folder / "native", DetectorConfig(lockout_seconds=0.3))
    voting = DetectorConfig(lockout_seconds=0.3, smoothing=4, votes=3, hold=2)
    return native, tone_model(folder / "windows", voting, native=False)


@pytest.fixture(scope="session")
def model(tone_models):
    """The first of them."""
    return WakewordModel(tone_models[0])


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A file with both tones."""
    path = tmp_path_factory.mktemp("sound") / "tones.wav"
    write_audio(path, from_pcm16(tones()), RATE)
    return path


@pytest.fixture(scope="module")
def address(tone_models, onnxruntime_web_cache):
    """Where the page is served."""
    with running(tone_models[0], onnxruntime_web_cache) as at:
        yield at.url


@pytest.fixture(scope="module")
def context(recording):
    """A window of Chromium that hears the recording; its pages share what they have loaded."""
    with hearing_chromium(recording) as browser, browser.new_context() as opened:
        opened.set_default_timeout(30_000)
        yield opened


@pytest.fixture
def visit(context):
    """The function that opens an address once `script` ran there."""
    with visiting() as visit_in:
        yield partial(visit_in, context)
        for page in context.pages:
            page.close()
