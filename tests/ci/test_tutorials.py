"""What the tutorials tell people to type is there: commands with these options, settings, presets and links."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from documents import BEHIND_MAKE, ROOT, TUTORIALS, blocks, typed

from wakeword_core.config.loading import load_config
from wakeword_core.export.tflite.limits import problems
from wakeword_core.graph.stages import STAGES
from wakeword_pipeline.cli.main import app

STEP_BY_STEP = [*TUTORIALS, ROOT / "README.md", ROOT / "docs" / "start.md"]
OF_THE_SHELL = {".", "cd", "cp", "esphome", "mkdir"}
"""Other programs that tutorials may use."""
COMMANDS: Any = typer.main.get_command(app)


def parsed(words: list[str]) -> dict[str, Any]:
    """The parameters of a command; the error of the command line for an option or an argument that it has not."""
    _, name, *arguments = words
    return COMMANDS.commands[name].make_context(name, arguments).params


def check(words: list[str]) -> None:
    """Fail for what could not be typed in a checkout."""
    program = words[0].rpartition("/")[2]
    if program == "make":
        check_make(words)
    elif program == "wakeword":
        parameters = parsed(words)
        load_config(None, parameters.get("settings") or ())
        assert set(parameters.get("select") or ()) <= {stage.name for stage in STAGES}
    elif program == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert {extra for named in re.findall(r"\[([\w,]+)\]", words[-1]) for extra in named.split(",")} <= set(known)
    else:
        assert program in OF_THE_SHELL, f"{words[0]} is none of the programs that tutorials use"


def check_make(words: list[str]) -> None:
    """Fail for a target that there is not, and for options that the command behind it has not."""
    _, target, *given = words
    rules = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{re.escape(target)}:", rules, re.MULTILINE), f"the Makefile has no {target}"
    for options in (word.removeprefix("ARGS=") for word in given):
        parsed(["wakeword", BEHIND_MAKE[target], *shlex.split(options)])


@pytest.mark.parametrize("document", STEP_BY_STEP, ids=lambda path: path.stem)
def test_what_is_to_be_typed_can_be(document: Path) -> None:
    lines = list(typed(document))
    assert lines
    for words in lines:
        check(words)


@pytest.mark.parametrize("document", TUTORIALS, ids=lambda path: path.stem)
def test_configurations_of_tutorials_are_right(document: Path, tmp_path: Path) -> None:
    written = tmp_path / "wakeword.yaml"
    for text in blocks(document, "yaml"):
        written.write_text(text)
        config = load_config(written)
        assert not config.export.tflite.enabled or problems(config) == []


@pytest.mark.parametrize("document", TUTORIALS, ids=lambda path: path.stem)
def test_configurations_that_are_named_were_written_before(document: Path) -> None:
    """And everything that a tutorial shows is commands or a configuration, which the tests above look at."""
    text = document.read_text("utf-8")
    assert set(re.findall(r"^```(\w+)", text, re.MULTILINE)) <= {"sh", "yaml"}
    for words in typed(document):
        named = parsed(words).get("config") if words[0] == "wakeword" else None
        assert named is None or f"`{named}`" in text.partition(shlex.join(words))[0]


@pytest.mark.parametrize(
    "line",
    [
        "wakeword forget --speakers anna",
        "wakeword export --to toaster --out there",
        "wakeword run --set training.schedule.epoch=3",
        "wakeword run --set preset=huge",
        "wakeword run --select raw_manifests",
        "wakeword captures",
        "wakeword remember",
        "make rune",
        "make run ARGS='--phrases x'",
        "pip install -e '.[everything]'",
        "rm -r recordings",
    ],
)
def test_what_there_is_not_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017  of the command line, of the configuration or of this test
        check(shlex.split(line))
