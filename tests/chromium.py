"""The system's Chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
REFUSED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
"""A script with which no page may use the microphone."""
_COLOURS = """(id) => {
  const canvas = document.getElementById(id);
  const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
}"""


@contextmanager
def chromium(*arguments):
    """Chromium with these arguments of its command line; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=list(arguments))
        yield browser
        browser.close()


def hearing_chromium(recording):
    """Chromium, whose microphone hears a WAV file over and over."""
    return chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
    )


@contextmanager
def visiting():
    """The function that opens an address in a window, once `script` ran there.

    No page may complain in the console, but for what a test says that it will.
    """
    complaints = []

    def visit(window, url, script="", complaint="(none)"):
        page = window.new_page()
        page.on("console", lambda message: complaints.append(message.text) if complaint not in message.text else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(script)
        page.goto(url)
        return page

    yield visit
    assert complaints == []


def colours(page, canvas):
    """How many colours a picture has."""
    return page.evaluate(_COLOURS, canvas)


def wait_for_colours(page, canvas, more_than):
    """Wait until a picture has more colours than that."""
    page.wait_for_function(f"({_COLOURS})('{canvas}') > {more_than}")
