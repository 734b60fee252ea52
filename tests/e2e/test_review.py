"""From what a server kept to what a build takes: two people review one folder, each with a server of their own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from chromium import chromium
from kept_captures import keep_captures
from listening import listening
from tiny_project import tiny_project

from wakeword_core.recordings.captured import read_reviews

pytestmark = [pytest.mark.browser, pytest.mark.server, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
WAKEWORD = [sys.executable, "-P", "-m", "wakeword_pipeline.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE_MS = 60_000


@contextmanager
def reviewing(folder: Path, *options: str) -> Iterator[str]:
    """The address of a server in a process of its own, which ends as it is told to."""
    command = [*WAKEWORD, "review", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"is reviewed on (http://127\.0\.0\.1:\d+); stop with Ctrl-C", line)
        assert found, line
        assert listening(process.pid) == {"127.0.0.1"}
        try:
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) in (0, 130)


def test_what_two_people_said_is_what_the_next_build_learns_from(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    names = keep_captures(kept, 4)
    with ExitStack() as stack:
        addresses = [stack.enter_context(reviewing(kept, "--reviewer", who)) for who in ("anna", "ben")]
        browser = stack.enter_context(chromium())
        pages = [browser.new_page() for _ in addresses]
        for page, address in zip(pages, addresses, strict=True):
            page.set_default_timeout(PATIENCE_MS)
            page.goto(address)
            page.locator("#length", has_text="1.0 s").wait_for()
        anna, ben = pages
        ben.keyboard.press("j")
        anna.get_by_label("Word").fill("robin")
        anna.get_by_role("button", name="Yes").click()
        anna.locator("#state", has_text="yes. 3 of 4 are left").wait_for()  # and the next one is chosen
        ben.keyboard.press("n")
        for page in pages:
            page.locator("#state", has_text="2 of 4 are left").wait_for()
        anna.keyboard.press("u")  # of what she chose before ben answered
        anna.get_by_role("alert").filter(has_text="Ben said no").wait_for()
        anna.keyboard.press("j")
        anna.keyboard.press("u")
        anna.locator("#state", has_text="1 of 4 are left").wait_for()
        anna.keyboard.press("d")
        anna.keyboard.press("d")
        anna.locator("#state", has_text="0 of 3 are left").wait_for()
    reviews = [read_reviews(kept)[name] for name in names]
    assert [review.state for review in reviews] == ["yes", "no", "unsure", "deleted"]
    assert [review.reviewer for review in reviews] == ["anna", "ben", "anna", "anna"]

    config = tiny_project(tmp_path)
    source = "    - {name: captured, path: kept/labels.csv, role: hard_negative}\n"
    config.write_text(config.read_text().replace("checks:", source + "checks:"))
    asked = [*WAKEWORD, "sources", "--config", str(config), "--home", str(tmp_path / "home"), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    holding = next(one for one in json.loads(done.stdout)["sources"] if one["source"] == "captured")
    assert holding["labels"] == {"robin": 1, "_negative": 1} and holding["refused"] == []
    assert sum(holding["splits"].values()) == 2 and set(holding["splits"]) <= {"train", "test"}
