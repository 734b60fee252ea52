"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions


def named(given: str) -> str:
    """Take a path or a URL that has a name: what a variable that is not set leaves would be the folder one is in."""
    if not given.strip():
        raise typer.BadParameter("it is empty; name a file or a folder")
    return given


def named_path(given: str | Path) -> Path:
    """Take a path that has a name."""
    return Path(named(str(given)))


def file_to_write(given: str | Path) -> Path:
    """Take the path of a file to write, which is no folder: that is said before there is a result to write."""
    path = named_path(given)
    if path.is_dir():
        raise typer.BadParameter(f"{printable(given)} is a folder; name a file in it")
    return path


def folder_to_write(given: str | Path) -> Path:
    """Take the path of a folder to write to, which is no file: likewise."""
    path = named_path(given)
    if path.is_file():
        raise typer.BadParameter(f"{printable(given)} is a file; name a folder")
    return path


Home = Annotated[
    Path | None,
    typer.Option(
        parser=named_path, help="Folder that holds everything that is made. \\[default: $WAKEWORD_HOME or .wakeword]"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on the last line.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", parser=named_path, help="Configuration file. \\[default: wakeword.yaml]"),
]
LastConfig = Annotated[
    Path | None,
    typer.Option(
        "--config",
        parser=named_path,
        help="Configuration file. \\[default: the one last run on the home, else wakeword.yaml]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting, such as training.schedule.epochs=30; may be repeated."
    ),
]
Model = Annotated[
    Path, typer.Argument(parser=named_path, help="An exported .onnx file, or the folder that holds model.onnx.")
]
Audio = Annotated[list[Path], typer.Argument(parser=named_path, help="Recordings to look through.")]
AudioOrFolders = Annotated[
    list[Path], typer.Argument(parser=named_path, help="Recordings to look through, or folders of them.")
]
Sensitivity = Annotated[
    str | None, typer.Option(help="Operating point: strict, balanced or lenient. \\[default: the model's own]")
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Score from which the model detects the word, instead of --sensitivity."),
]
Alone = Annotated[bool, typer.Option("--alone", help="Leave the judge out that lies beside the model.")]
Keep = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        parser=folder_to_write,
        help="Keep the sound around wake words and near misses. \\[default: none is kept]",
    ),
]
Device = Annotated[
    str | None, typer.Option(help="Number of the microphone, or part of its name. \\[default: the system's]")
]
Reason = Annotated[str, typer.Option(help="Reason that is recorded with the decision.")]


def project_options(config: Path | None, home: Path | None, settings: list[str] | None) -> ProjectOptions:
    """Return which configuration, home and settings a command was given."""
    return ProjectOptions(config, home, settings or ())
