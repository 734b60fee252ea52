"""Pages that are made from the code say what is there: settings, commands, routes."""

import re

import pytest
import reference

from wakeword_core.config import Config, ScheduleConfig
from wakeword_core.config.base import Settings


@pytest.fixture(scope="module")
def settings() -> str:
    return reference.settings_page()


def test_the_page_of_settings_has_each_of_them(settings: str) -> None:
    def count(group: Settings) -> int:
        values = [getattr(group, name) for name in type(group).model_fields]
        return sum(count(value) if isinstance(value, Settings) else 1 for value in values)

    assert settings.count("<tr><td>") >= count(Config())
    for name in Config.model_fields:
        assert f"`{name}`" in settings or f"<code>{name}</code>" in settings, name


def test_a_setting_is_shown_with_default_bounds_meaning_and_stages(settings: str) -> None:
    branch = settings.partition("{ #training.schedule }")[2].partition("{ #")[0]
    epochs = ScheduleConfig.model_fields["epochs"]
    row = next(line for line in branch.splitlines() if "<code>epochs</code>" in line)
    assert f"<code>{epochs.default}</code>" in row and "a whole number, at least" in row
    assert epochs.description and epochs.description.partition("`")[0] in row
    assert "A change makes stale: <code>trained_model</code>, <code>tuned_model</code>." in branch


def test_signs_of_markdown_and_html_in_descriptions_stay_what_they_are(settings: str) -> None:
    assert "<code>[&quot;**/*&quot;]</code>" in settings
    assert "(?P&lt;speaker&gt;" not in re.sub(r"<t[dh]>.*?</t[dh]>", "", settings)


def test_commands_are_shown_with_their_options() -> None:
    page = reference.commands_page()
    assert "### wakeword forget" in page and "## Make a model" in page
    assert "--speaker" in page.partition("### wakeword forget")[2].partition("### ")[0]
    assert "\\[" not in page


def test_routes_are_shown_with_what_they_answer() -> None:
    page = reference.http_page()
    verify = page.partition("### POST /v1/verify")[2].partition("### ")[0]
    assert '<a href="#verdict">Verdict</a>' in verify and "<code>415</code>" in verify
    assert "<code>confidence</code>" in page.partition("### Verdict")[2].partition("### ")[0]
