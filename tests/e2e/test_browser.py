"""The project in Dagster's pages, as somebody sees and clicks them in a browser.

Pictures of the pages are left in the folder that WAKEWORD_SCREENSHOTS names, else in pytest's temporary one.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from chromium import chromium
from daemon import instance_of, web_pages
from tiny_project import LABELS, SECONDS, tiny_project

from wakeword_core.config import SPLITS
from wakeword_core.config.recordings import HealthConfig
from wakeword_pipeline.orchestration.definitions import defs

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
pytestmark = [pytest.mark.browser, pytest.mark.server, pytest.mark.slow]
GROUPS = ["ingest", "features", "model", "delivery"]
SCREEN = {"width": 1_600, "height": 1_000}
TALL = {"width": 3_000, "height": 4_900}
"""On which the whole graph is drawn with all that it says."""
MARGIN = 24
"""Of the graph's picture, in pixels."""
MAX_SECONDS = 0.8
MEANING = HealthConfig.model_fields["max_seconds"].description
PATIENCE_MS = 120_000
"""For a page on a machine that does other things besides; without them none takes more than seconds."""


@dataclass(frozen=True)
class Browser:
    """A page of Chromium, on a project of which nothing is built."""

    page: "Page"
    address: str
    home: Path
    pictures: Path

    def open(self, path: str) -> "Page":
        self.page.goto(f"{self.address}/{path}")
        return self.page

    def visible(self, text: str) -> "Locator":
        """The first thing on the page that says just this."""
        return self.page.get_by_text(text, exact=True).filter(visible=True).first

    def wait_for_facts(self) -> None:
        """Until each asset of a graph is drawn with what is known of it."""
        expect(self.page.get_by_text("Loading...").filter(visible=True)).to_have_count(0)

    def keep(self, name: str, **options) -> None:
        self.page.screenshot(path=self.pictures / f"{name}.png", **options)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("browser")
    pictures = Path(os.environ.get("WAKEWORD_SCREENSHOTS") or folder / "screenshots")
    with chromium() as started, web_pages(folder / "home", tiny_project(folder)) as address:
        expect.set_options(timeout=PATIENCE_MS)
        page = started.new_page(viewport=SCREEN)
        page.set_default_timeout(PATIENCE_MS)
        yield Browser(page, address, folder / "home", pictures)


@pytest.fixture(scope="module")
def run_id(browser: Browser) -> str:
    """The run that made the manifest, begun in the launchpad with another setting than the file's."""
    page = browser.open("assets/raw_manifest")
    expect(page.get_by_text("One row a recording").first).to_be_visible()
    page.get_by_role("button", name="arrow_drop_down").first.click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    page.get_by_role("button", name="Confirm").click()  # synthetic speech is not there, and not wanted
    launchpad = page.get_by_role("dialog").filter(has_text="Launchpad")
    launchpad.get_by_text("config_path").click()
    page.keyboard.press("Control+End")  # below the home, which is the last of the project
    page.keyboard.type("      settings:\n  data:\n  health:\n  max_s")  # each line begins where the one above does
    expect(launchpad.get_by_text(MEANING)).to_be_visible()
    page.keyboard.press("Control+Space")
    expect(launchpad.get_by_text("max_seconds:")).to_be_visible()
    page.keyboard.type("long")
    expect(launchpad.get_by_text("settings:data:health:max_seconds")).to_be_visible()
    expect(launchpad.get_by_role("button", name="Materialize")).to_be_disabled()
    browser.keep("launchpad")
    for _ in "long":
        page.keyboard.press("Backspace")
    page.keyboard.type(f"{MAX_SECONDS}")
    expect(launchpad.get_by_text("No errors")).to_be_visible()
    launchpad.get_by_role("button", name="Materialize").click()
    expect(page).to_have_url(re.compile("/runs/.+"))
    expect(browser.visible("Success")).to_be_visible()
    browser.keep("run")
    return page.url.rpartition("/")[2]


def test_the_graph_shows_each_asset_in_its_group_with_its_kinds(browser: Browser) -> None:
    page = browser.open("asset-groups")
    page.set_viewport_size(TALL)
    page.get_by_role("button", name="panel_show_right", exact=True).click()  # the list beside the graph
    for item in ("Change graph to vertical orientation", "Expand all groups"):
        expect(browser.visible(GROUPS[-1])).to_be_visible()
        page.mouse.click(TALL["width"] / 3, TALL["height"] / 8, button="right")
        page.get_by_role("menuitem", name=item).click()
    keys = {node.key for node in defs.resolve_asset_graph().asset_nodes}
    for name in (*GROUPS, *(key.to_user_string() for key in keys), "Python", "Parquet", "hdf5", "PyTorch", "onnx"):
        expect(browser.visible(name)).to_be_visible()
    browser.wait_for_facts()
    browser.visible(GROUPS[0]).click(trial=True)  # which waits until it stands still
    page.mouse.move(0, 0)  # what is below the mouse is drawn darker
    tops = [browser.visible(group).bounding_box()["y"] for group in GROUPS]
    assert tops == sorted(tops), "data flow through the groups in this order"
    boxes = [node.bounding_box() for node in page.locator("foreignObject").all()]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    browser.keep("graph", clip={"x": left, "y": top, "width": right - left, "height": bottom - top})
    page.set_viewport_size(SCREEN)


def test_the_pages_open_with_the_graph(browser: Browser) -> None:
    page = browser.open("")
    expect(page).to_have_url(f"{browser.address}/asset-groups")
    expect(browser.visible(GROUPS[0])).to_be_visible()


def test_a_preset_is_chosen_by_its_name(browser: Browser) -> None:
    from wakeword_pipeline.orchestration.web import DEFINITIONS  # which imports Dagster's pages

    page = browser.open(f"locations/{DEFINITIONS}/jobs/build_preset/playground")
    page.get_by_placeholder("Partition").click()
    browser.visible("accurate").click()
    expect(page.get_by_text("preset: 'accurate'")).to_be_visible()
    expect(page.get_by_text("No errors")).to_be_visible()


def test_a_setting_of_the_launchpad_reaches_the_artifact(browser: Browser, run_id: str) -> None:
    with instance_of(browser.home) as instance:
        run = instance.get_run_by_id(run_id)
        made = instance.get_latest_materialization_event(dg.AssetKey("raw_manifest")).asset_materialization
    given = run.run_config["resources"]["project"]["config"]["settings"]
    assert given == {"data": {"health": {"max_seconds": MAX_SECONDS}}}
    card = json.loads((Path(made.metadata["path"].value) / "artifact.json").read_text())
    assert card["config"]["data"]["health"]["max_seconds"] == MAX_SECONDS
    too_long = sum(seconds > MAX_SECONDS for seconds in SECONDS) * len(LABELS) * len(SPLITS)
    assert made.metadata["quarantined"].value == too_long > 0


def test_metadata_and_picture(browser: Browser, run_id: str) -> None:
    page = browser.open("assets/raw_manifest")
    page.set_viewport_size(TALL)
    expect(page.get_by_text("Latest check results")).to_be_visible()
    for text in ("quarantined", "too long", "hours", "split_labels", "Parquet", "wakeword"):
        expect(browser.visible(text)).to_be_visible()
    browser.keep("metadata")
    page.set_viewport_size(SCREEN)
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.get_by_role("img", name="health picture")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 1_000
    browser.keep("picture")


def test_checks_say_what_they_found(browser: Browser, run_id: str) -> None:
    page = browser.open("assets/raw_manifest?view=checks")
    page.get_by_text("usable_recordings").filter(visible=True).first.click()
    expect(page.get_by_text("every label has usable recordings in every split")).to_be_visible()
    expect(browser.visible("Passed")).to_be_visible()
    browser.keep("checks")


def test_what_was_made_with_other_settings_than_the_files_is_shown_to_be_due(browser: Browser, run_id: str) -> None:
    page = browser.open("assets/raw_manifest?view=events")
    page.get_by_text("Unsynced (1)").filter(visible=True).first.hover()
    expect(page.get_by_text("has a new code version")).to_be_visible()


def test_lineage_shows_what_is_before_and_after(browser: Browser, run_id: str) -> None:
    browser.open("assets/raw_manifest?view=lineage")
    for name in ("raw_audio", "synthetic_speech", "raw_manifest", "audio_shards", "model_bundle"):
        expect(browser.visible(name)).to_be_visible()
    browser.wait_for_facts()
    browser.keep("lineage")
