"""Documents name what is there."""

import re
import shutil
import subprocess
import tomllib
from operator import attrgetter
from pathlib import Path

import pytest
import reference
import typer
import yaml
from documents import named_in

from wakeword_core import __version__
from wakeword_core.config import Config
from wakeword_core.config.loading import with_settings
from wakeword_core.graph.stages import STAGES
from wakeword_pipeline.cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("benchmarks/*.md")]

OF_TODAY = [path for path in DOCUMENTS if path.name not in ("CHANGELOG.md", "NOTES.md")]
"""What others were called once stands in the history alone."""
ENDINGS = {"db", "json", "lock", "md", "onnx", "org", "py"}


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


def test_advice_names_settings_and_checks_that_there_are():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:--set )?([a-z]+(?:\.[a-z_0-9]+)+)(?:=([^`]*))?`", text)
    settings = [(name, value) for name, value in named if name.partition(".")[0] in Config.model_fields]
    assert len(settings) > 30
    for name, value in settings:
        attrgetter(name)(Config())
        if value:
            with_settings(Config(), {name: yaml.safe_load(value)})
    checks = {check.name for stage in STAGES for check in stage.checks}
    assert set(re.findall(r"checks? `(\w+)`", text)) | {"training_healthy", "enough_recordings"} <= checks


def test_a_version_is_the_same_wherever_it_is_told():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.findall(r"^## \[(.+)\](?: - (.+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest[0] == ("Unreleased", "")
    assert newest[1] == (citation["version"], str(citation["date-released"])) and citation["version"] == __version__


def test_pythons_that_are_promised_are_those_that_are_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert promised == workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    assert project["requires-python"] == f">={promised[0]}"


def test_where_there_is_no_python_make_says_what_it_needs(tmp_path):
    for name in ("sh", "cat", "cksum", "cut", "df", "awk"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("make"), f"--file={ROOT / 'Makefile'}", ".venv/bin/python"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode and "Python 3.11, 3.12 or 3.13 is needed" in done.stdout
    assert "virtual environment" not in done.stdout


@pytest.fixture(scope="module")
def settings() -> set[str]:
    """Dotted names of all settings and groups of them."""
    names = set(Config.model_fields)
    for section in reference.settings_page().split("{ #")[1:]:
        group = section.partition(" }")[0].partition("-")[0]
        names |= {group, *(f"{group}.{name}" for name in re.findall(r"<tr><td><code>(\w+)</code>", section))}
    return names


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_named_are_there(document: Path, settings: set[str]) -> None:
    named = {name for code in named_in(document) for name in re.findall(r"\b[a-z_]+(?:\.[a-z_0-9]+)+\b", code)}
    of_ours = {
        name for name in named if name.partition(".")[0] in Config.model_fields and not ENDINGS & set(name.split("."))
    }
    assert {name.removeprefix("search.space.") for name in of_ours} - settings == set()


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_have_the_options_that_are_named(document: Path) -> None:
    commands = typer.main.get_command(app).commands
    for code in named_in(document):
        called = re.match(r"(?:\S*/)?wakeword ([a-z]\S*)(.*?)(?:\s{3}|\s#|;|$)", code)
        if called:
            assert called[1] in commands, code
            options = {option for one in commands[called[1]].params for option in (*one.opts, *one.secondary_opts)}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", called[2])) <= options, code
