"""The page in a real browser: by keys alone, by several people at once, in light and dark, for everybody."""

import pytest
from accessibility import violations
from chromium import chromium, visiting, wait_for_colours
from in_thread import served
from kept_captures import RATE, WORD, keep_captures
from loud_model import loud_and_quiet

from wakeword_core.audio import from_pcm16, write_audio
from wakeword_core.recordings.captured import Opinion, read_reviews, save_review, sound_of
from wakeword_core.recordings.corrections import read_corrections
from wakeword_core.reviewing.app import Defaults, create_app
from wakeword_core.reviewing.captured_sound import CapturedSound
from wakeword_core.reviewing.doubtful_sound import DoubtfulRecording, DoubtfulSound

pytestmark = [pytest.mark.browser, pytest.mark.server]

COUNT_PLAYS = """
window.plays = 0;
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...given) { window.plays++; return start.apply(this, given); };
"""


def running(captured, token=""):
    """A server in a thread."""
    return served(create_app(captured, Defaults("anna", "parent", "CC0-1.0"), token), ws="none")


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def address(folder, model):
    with running(CapturedSound(folder, model)) as at:
        yield at.url


@pytest.fixture
def visit(browser, address):
    """The function that opens an address as somebody.

    Pages of `address` are closed before its server ends; those of other servers a test closes itself.
    """
    contexts = []
    with visiting() as visit_in:

        def open_page(url, complaint="(none)", **options):
            contexts.append(browser.new_context(**options))
            contexts[-1].set_default_timeout(30_000)
            return visit_in(contexts[-1], url, COUNT_PLAYS, complaint)

        yield open_page
        for context in contexts:
            context.close()


def told(page, text) -> None:
    page.locator("#state", has_text=text).wait_for()


def heard(page) -> None:
    page.locator("#length", has_text="1.0 s").wait_for()


def look(page) -> None:
    """As whoever comes back to the page, which looks again every few seconds besides."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def rows(page):
    return page.get_by_role("listbox", name="Captures").get_by_role("option")


def states(folder) -> dict[str, str]:
    return {name: review.state for name, review in read_reviews(folder).items()}


def test_a_folder_is_reviewed_with_keys_alone(visit, address, folder, names) -> None:
    page = visit(address)
    told(page, "3 of 3 are left to review.")
    heard(page)
    for picture in ("scores", "waveform", "mel"):
        wait_for_colours(page, picture, 3)
    page.keyboard.press("Space")
    page.wait_for_function("window.plays === 1")
    page.keyboard.press("y")
    told(page, "yes. 2 of 3 are left to review.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("u")
    told(page, "unsure. 1 of 3 are left to review.")
    page.keyboard.press("n")
    told(page, "no. 0 of 3 are left to review.")
    assert states(folder) == dict(zip(names, ("yes", "no", "unsure"), strict=True))
    review = read_reviews(folder)[names[0]]
    assert (review.word, review.speaker, review.licence, review.reviewer) == (WORD, "parent", "CC0-1.0", "anna")
    assert (review.speech_start, review.speech_end) == (
        0.0,
        0.75,
    )  # the second before it was detected, as far as there is
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert (
        rows(page).and_(page.get_by_role("option", selected=True)).inner_text().startswith("28 Nov 2026, 09:00:00\nyes")
    )
    assert page.get_by_role("button", name="Yes").get_attribute("aria-pressed") == "true"
    assert "Reviewed: yes, by anna" in page.inner_text("#said")


def test_deleting_asks_first_and_is_for_good(visit, address, folder, names) -> None:
    page = visit(address)
    heard(page)
    page.keyboard.press("d")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("y")
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.keyboard.press("d")
    page.get_by_role("button", name="Keep it").click()
    assert states(folder) == {} and sound_of(folder, names[0])
    page.keyboard.press("d")
    page.keyboard.press("d")
    told(page, "deleted. 2 of 2 are left to review.")
    assert states(folder) == {names[0]: "deleted"} and sound_of(folder, names[0]) is None
    assert rows(page).count() == 2


def test_fields_take_letters_and_what_they_say_is_kept(visit, address, folder, names) -> None:
    page = visit(address, "422 (Unprocessable")
    heard(page)
    page.get_by_label("Word").fill("")
    page.get_by_label("Word").press_sequentially("hey jundy")
    page.get_by_label("Speaker").fill("child")
    page.wait_for_timeout(100)
    assert states(folder) == {} and page.get_by_label("Word").input_value() == "hey jundy"
    page.keyboard.press("Enter")
    page.keyboard.press("y")
    told(page, "2 of 3")
    review = read_reviews(folder)[names[0]]
    assert (review.word, review.speaker) == ("hey jundy", "child")
    assert page.get_by_label("Speaker").input_value() == "parent"
    page.get_by_label("Word").fill(" ")
    page.get_by_role("button", name="Yes").click()
    page.get_by_role("alert").filter(has_text="needs the word").wait_for()
    page.uncheck("text=Use these keys")
    page.keyboard.press("n")
    page.wait_for_timeout(100)
    assert states(folder) == {names[0]: "yes"}


def test_where_the_word_is_can_be_drawn_typed_and_left_open(visit, address, folder, names) -> None:
    page = visit(address)
    heard(page)
    page.locator(".band").last.wait_for()
    box = page.locator("#mel").bounding_box()
    x, y = (lambda share: box["x"] + share * box["width"]), box["y"] + 20
    page.mouse.move(x(0.6), y)
    page.mouse.down()
    page.mouse.move(x(0.2), y, steps=3)
    page.mouse.up()
    page.keyboard.press("y")
    told(page, "2 of 3")
    review = read_reviews(folder)[names[0]]
    assert abs(review.speech_start - 0.2) < 0.02 and abs(review.speech_end - 0.6) < 0.02
    page.get_by_label("Begins (s)").fill("")
    page.get_by_label("Ends (s)").fill("")
    page.keyboard.press("Enter")
    page.keyboard.press("y")
    told(page, "1 of 3")
    assert read_reviews(folder)[names[1]].speech_end is None
    page.keyboard.press("k")
    page.keyboard.press("k")
    assert page.get_by_label("Ends (s)").input_value() == str(review.speech_end)


def test_two_people_see_each_other_and_neither_overrules_the_other_unseen(visit, folder, names, address, model) -> None:
    """In two browsers, on two servers."""
    with running(CapturedSound(folder, model)) as other:
        anna, ben = visit(address, "409 (Conflict)"), visit(other.url, "409 (Conflict)")
        heard(anna)
        heard(ben)
        ben.get_by_label("You are").fill("ben")
        ben.keyboard.press("Enter")
        ben.evaluate(
            "setInterval = null; for (let i = 0; i < 1000; i++) clearInterval(i)"
        )  # so that it is not told yet
        anna.keyboard.press("y")
        told(anna, "2 of 3")
        ben.keyboard.press("n")
        ben.get_by_role("alert").filter(has_text="Anna said yes").wait_for()
        assert states(folder) == {names[0]: "yes"}
        assert "by anna" in ben.inner_text("#said") and "reviewed by anna" in ben.inner_text("#list")
        ben.keyboard.press("n")
        told(ben, "no. 2 of 3")
        look(anna)
        anna.locator("#list", has_text="reviewed by ben").wait_for()
        anna.keyboard.press("d")
        anna.get_by_role("dialog").wait_for()
        save_review(folder, names[1], Opinion("deleted", "ben"))
        look(anna)
        told(anna, "ben deleted this capture.")
        anna.get_by_role("dialog").wait_for(state="hidden")  # it would be about another now
        ben.close()


def test_captures_that_come_are_shown_and_a_server_that_goes_away_is_a_sentence(visit, folder, names) -> None:
    with running(CapturedSound(folder)) as at:
        page = visit(at.url, "ERR_CONNECTION_REFUSED")
        heard(page)
        assert page.is_hidden("#trace")
        page.select_option("#filter", "no")
        assert rows(page).count() == 1  # that which is chosen
        page.select_option("#filter", "all")
        keep_captures(folder, 4)
        look(page)
        told(page, "4 of 4")
    look(page)
    page.get_by_role("alert").filter(has_text="The server cannot be reached").wait_for()


def test_the_page_asks_for_the_token_where_the_server_does(visit, folder) -> None:
    with running(CapturedSound(folder), token="s3cret") as at:
        page = visit(at.url, "401 (Unauthorized)")
        page.get_by_label("access token").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").filter(has_text="The token is wrong").wait_for()
        page.get_by_label("access token").fill("s3cret")
        page.keyboard.press("Enter")
        heard(page)
        assert page.is_hidden("#entry")
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1_400])
def test_it_fits_and_can_be_used_by_everybody(visit, address, folder, names, scheme, width) -> None:
    save_review(folder, names[0], Opinion("yes", "ben", WORD))
    save_review(folder, names[1], Opinion("no", "ben"))
    page = visit(address, color_scheme=scheme, viewport={"width": width, "height": 900})
    heard(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    page.keyboard.press("d")
    page.get_by_role("dialog").wait_for()
    assert violations(page) == []


@pytest.fixture
def doubted(tmp_path, model):
    """Two recordings that a report doubts, of which the first is called the second letter."""
    recordings = []
    for digit, name in (("b", "first"), ("a", f"second-{'x' * 60}")):
        path = tmp_path / f"{name}.wav"
        write_audio(path, from_pcm16(loud_and_quiet(1.0)), RATE)
        why = "Whisper heard “rubbing”, not 80 % of the word"
        recordings.append(DoubtfulRecording(digit * 64, f"words/{name}.wav", path, WORD, why))
    return DoubtfulSound(recordings, [WORD, "computer"], tmp_path / "corrections.csv", tmp_path, model)


def test_doubtful_recordings_are_corrected_with_keys_alone_and_nothing_is_deleted(visit, doubted) -> None:
    with running(doubted) as at:
        page = visit(at.url, "422 (Unprocessable")
        heard(page)
        wait_for_colours(page, "scores", 3)
        assert page.get_by_role("listbox", name="Recordings").get_by_role("option").count() == 2
        assert page.inner_text("#title") == "words/first.wav" and "“rubbing”" in page.inner_text("#facts")
        assert not page.get_by_label("Speaker").is_visible() and not page.is_visible("#hint")
        page.keyboard.press("d")
        told(page, "words/first.wav: left out. 1 of 2 are left to review.")
        page.keyboard.press("n")
        told(page, ": no. 0 of 2 are left to review.")
        page.get_by_label("Word", exact=True).fill("robot")
        page.keyboard.press("Enter")
        page.keyboard.press("y")
        page.get_by_role("alert").filter(has_text="The wake words are").wait_for()
        page.get_by_label("Word", exact=True).fill("computer")
        page.keyboard.press("Enter")
        page.keyboard.press("y")
        told(page, ": yes.")
        page.keyboard.press("k")
        assert page.get_by_role("button", name="Leave out").get_attribute("aria-pressed") == "true"
        assert page.inner_text("#said").startswith("Reviewed: left out, by anna")
        page.close()
    said = read_corrections(doubted.table)
    assert {name[0]: (one.state, one.label) for name, one in said.items()} == {
        "b": ("left_out", ""),
        "a": ("yes", "computer"),
    }
    assert said["b" * 64].recording == "words/first.wav" and all(
        one.path.is_file() for one in doubted.recordings.values()
    )


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1_400, "light")])
def test_the_page_of_doubtful_recordings_fits_and_can_be_used_by_everybody(visit, doubted, width, scheme) -> None:
    with running(doubted) as at:
        page = visit(at.url, color_scheme=scheme, viewport={"width": width, "height": 900})
        heard(page)
        page.keyboard.press("d")
        told(page, "1 of 2")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []
        page.close()
