"""The page in a real browser, whose microphone hears a synthetic voice."""

from contextlib import contextmanager

import pytest
from accessibility import violations
from chromium import REFUSED, hearing_chromium, visiting
from in_thread import served
from spoken import RATE, take

from wakeword_core.audio import from_pcm16, write_audio
from wakeword_core.studio import sitting
from wakeword_core.studio.prompts import Prompt
from wakeword_core.studio.server import create_app

pytestmark = [pytest.mark.browser, pytest.mark.server]

SAID_AT = 2.6
"""Seconds after the microphone was opened, of which 1.5 are to get ready."""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A window of Chromium that hears the phrase once in nine seconds."""
    recording = tmp_path_factory.mktemp("sound") / "said.wav"
    write_audio(recording, from_pcm16(take(SAID_AT, seconds=9.0)), RATE)
    with hearing_chromium(recording) as browser, browser.new_context() as opened:
        opened.set_default_timeout(20_000)
        yield opened


@pytest.fixture
def visit(context, plan):
    """The function that opens the page of a plan."""
    with visiting() as visit_in:

        @contextmanager
        def open_page(script="", **asked):
            with served(create_app(plan(**asked), "Anna", "data:\n  sources: []"), ws="none") as at:
                page = visit_in(context, at.url, script)
                yield page
                page.close()

        yield open_page


def begin(page) -> None:
    page.check("#agreed")
    page.click("text=Begin")
    page.locator("#stage").wait_for()


def test_a_sitting_with_the_keyboard_alone(visit, folder) -> None:
    with visit() as page:
        page.locator("#start").wait_for()
        page.focus("#speaker")
        page.keyboard.press("End")
        page.keyboard.type(" Ö")
        assert "I am Anna Ö, or may speak for Anna Ö" in page.inner_text("#consent")
        for key in ("Tab", "Space", "Tab", "Enter"):
            page.keyboard.press(key)
        page.locator("#stage").wait_for()
        assert page.inner_text("#text") == "hey robin" and page.inner_text("#count") == "1 of 2"
        page.keyboard.press("Enter")
        page.locator("#stage.ready", has_text="Get ready").wait_for()
        page.locator("#stage.recording", has_text="Say it now!").wait_for()
        page.locator("#verdict", has_text="Kept: hey robin").wait_for()
        assert page.inner_text("#count") == "2 of 2" and page.evaluate("document.activeElement.id") == "record"
        (row,) = folder.rows()
        assert row["speaker"] == "Anna Ö" and "I am Anna Ö" in row["consent"]
        for key in ("Tab", "Enter"):  # skips the second
            page.keyboard.press(key)
        page.locator("#end").wait_for()
        assert page.evaluate("document.activeElement.id") == "done"
        assert page.inner_text("#source") == "data:\n  sources: []"
        page.click("text=Take the last one back")
        page.locator("#stage").wait_for()
        assert page.inner_text("#count") == "1 of 2" and folder.rows() == []


def test_what_did_not_come_through_is_said_and_asked_for_again(visit, folder, monkeypatch) -> None:
    short = Prompt("positive", "hey robin", "", seconds=0.5, ready_seconds=0.2)
    monkeypatch.setattr(sitting, "wake_word_prompts", lambda phrase, count: [short] * count)
    quiet = "const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
    quiet += "navigator.mediaDevices.getUserMedia = async (wanted) => {"
    quiet += "  const stream = await open(wanted); stream.getTracks()[0].enabled = false; return stream; };"
    with visit(quiet) as page:
        begin(page)
        page.click("#record")
        page.locator("#verdict", has_text="Nothing came from the microphone").wait_for()
        assert page.inner_text("#count") == "1 of 2" and page.is_visible("text=None yet.") and folder.rows() == []


def test_a_take_can_be_stopped_and_the_microphone_is_let_go(visit, folder) -> None:
    with visit() as page:
        begin(page)
        page.click("#record")
        page.locator("#stage.ready").wait_for()
        page.click("#record")
        page.locator("#sign", has_text="Stopped.").wait_for()
        assert page.evaluate("document.getElementById('level').value") == 0 and folder.rows() == []
        assert page.inner_text("#record") == "Record" and page.is_hidden("#verdict")


def test_the_minutes_of_a_room_follow_each_other(visit, folder, monkeypatch) -> None:
    pieces = [Prompt("background", "", "", 1.0, group=f"room {number}") for number in range(2)]
    monkeypatch.setattr(sitting, "room_prompts", lambda minutes, begun: pieces)
    with visit(count=0, room_minutes=2 / 60) as page:
        begin(page)
        assert "Nobody says “hey robin”" in page.inner_text("#manner")
        page.click("#record")
        page.locator("#stage.recording", has_text="The room is recorded.").wait_for()
        page.locator("#end").wait_for()
    assert [row["role"] for row in folder.rows()] == ["background"] * 2
    assert len({row["speaker"] for row in folder.rows()}) == 2


def test_a_microphone_that_cannot_be_had_is_a_sentence(visit) -> None:
    with visit(REFUSED) as page:
        begin(page)
        page.click("#record")
        page.locator("role=alert", has_text="This page may not use the microphone").wait_for()
        assert page.inner_text("#record") == "Record"


def test_it_fits_a_telephone_and_has_names_for_all_that_is_used(visit) -> None:
    with visit() as page:
        page.set_viewport_size({"width": 400, "height": 800})
        page.locator("#start").wait_for()
        assert page.get_by_role("textbox", name="Name").count() == 1
        assert page.get_by_role("checkbox", name="I am Anna").count() == 1
        begin(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        for role, name in (
            ("button", "Record"),
            ("button", "Skip this one"),
            ("meter", "Level of the microphone"),
            ("checkbox", "Sound after each"),
            ("region", "hey robin"),
        ):
            assert page.get_by_role(role, name=name, exact=True).count() == 1, (role, name)


def test_it_can_be_used_by_everybody_in_light_and_dark(visit, folder) -> None:
    def looks(page) -> list[str]:
        found = []
        for width in (400, 1_400):
            page.set_viewport_size({"width": width, "height": 800})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                found += [f"{width} {scheme}: {one}" for one in violations(page)]
        return found

    with visit(count=1) as page:
        page.locator("#start").wait_for()
        assert looks(page) == []
        begin(page)
        assert looks(page) == []
        page.click("#record")
        page.locator("#stage.recording").wait_for()
        assert looks(page) == []
        page.locator("#end").wait_for()
        assert looks(page) == [] and len(folder.rows()) == 1


def test_somebody_else_agrees_anew(visit) -> None:
    with visit(count=1) as page:
        begin(page)
        page.click("text=Skip this one")
        page.click("text=Somebody else, or more")
        assert not page.is_checked("#agreed") and page.is_hidden("#stage")
        page.check("#agreed")
        page.fill("#speaker", "Ben")
        assert not page.is_checked("#agreed"), "which was to another text"
        begin(page)
        assert page.inner_text("#state") == "Ben speaks."
