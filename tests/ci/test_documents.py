"""Documents name what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("benchmarks/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_the_index_lists_every_document():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [
        name
        for name in (path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md"))
        if f"({name})" not in index and name != "index.md"
    ] == []


def test_contributors_find_every_folder_of_the_packages():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for package in ("wakeword_core", "wakeword_pipeline"):
        tree = text.partition(f"\n{package}/ ")[2]
        folders = [path.parent.name for path in (ROOT / package).glob("*/__init__.py")]
        assert [folder for folder in folders if f"\n  {folder}/ " not in tree] == []
