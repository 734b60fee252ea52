"""The site of the documents: links lead to its pages, and nothing comes from elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest
import site_hooks

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<script src="https://host/a.js"></script>', ["https://host/a.js"]),
        ('<link rel="stylesheet" href="//host/a.css">', ["//host/a.css"]),
        ("<style>@import 'https://host/b.css'; p {background: url(http://host/c.png)}</style>", 2),
        ('<a href="https://host/">follow me</a> <img src="own.png">', []),
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(tmp_path: Path, text: str, shown: list[str] | int) -> None:
    page = tmp_path / "page.html"
    page.write_text(text)
    found = list(site_hooks.foreign(page))
    assert found == shown if isinstance(shown, list) else len(found) == shown


@pytest.mark.slow
def test_the_site_is_built_with_every_link_checked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "tutorials/forget.html", "reference/settings.html", "project/notes.html"} <= pages
    detector = (tmp_path / "site" / "reference" / "python.html").read_text("utf-8")
    assert "Detections in a live stream" in detector and "finish" in detector
    led = (tmp_path / "site" / "index.html").read_text("utf-8")
    assert 'href="project/overview.html"' in led and "../README" not in led
