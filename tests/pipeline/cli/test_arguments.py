"""Paths on the command line: what is empty, or is a file in place of a folder, is refused before anything is done."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer.main
from typer.testing import CliRunner

from wakeword_core.errors import ConfigError
from wakeword_pipeline.cli.main import app


def refused(*arguments: str) -> str:
    """What a command says that refuses its arguments, as one line."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2, done.output
    return " ".join(done.output.replace("│", " ").split())


def arguments_that_leave_a_path_empty() -> Iterator[list[str]]:
    """Every command with each of its paths as a variable that is not set leaves it."""
    yield ["evaluate", ""]
    yield from (["evaluate", "x", option, ""] for option in ("--source", "--background", "--speech", "--against"))
    for name, one in typer.main.get_command(app).commands.items():
        types, before = get_type_hints(one.callback), 0
        for param in one.params:
            option = next((option for option in param.opts if option.startswith("--")), None)
            if Path in (types.get(param.name), *(args_of(types.get(param.name)))):
                yield [name, *([option] if option else ["x"] * before), ""]
            before += not option


def args_of(hint: object) -> set[object]:
    """The types in a union or a list, however deep."""
    return {inner for arg in get_args(hint) for inner in (arg, *args_of(arg))}


@pytest.mark.parametrize("arguments", tuple(arguments_that_leave_a_path_empty()), ids=" ".join)
def test_an_empty_path_is_refused_and_is_not_the_folder_that_one_is_in(
    monkeypatch, tmp_path: Path, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "it is empty; name a file or a folder" in refused(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("detect", "m", "a.wav", "--csv"), ("score", "m", "a.wav", "--out"), ("lr-find", "--out")]
)
def test_a_folder_in_place_of_a_file_is_refused_before_there_is_a_result(tmp_path: Path, arguments) -> None:
    assert "is a folder; name a file in it" in refused(*arguments, str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("synth", "hi", "--out"),
        ("record", "hi", "--out"),
        ("evaluate", "m", "--source", "x", "--out"),
        ("export", "--to", "onnx", "--out"),
        ("serve", "--keep"),
    ],
)
def test_a_file_in_place_of_a_folder_is_refused_before_there_is_a_result(tmp_path: Path, arguments) -> None:
    (tmp_path / "it").write_text("mine")
    assert "is a file; name a folder" in refused(*arguments, str(tmp_path / "it"))


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("x")
    for arguments in (("status",), ("lineage", "raw_manifest"), ("forget", "a.wav")):
        done = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path / "model.onnx")])
        assert isinstance(done.exception, ConfigError) and "model.onnx is a file; name a folder" in str(done.exception)
