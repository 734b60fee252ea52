"""Python is started in one way, never runs what lies in the working directory, and says how to install more."""

import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hostile import hostile_folder, ran_in

from wakeword_core.python import install_command

ROOT = Path(__file__).parents[2]
IN_A_POOL = """
from wakeword_core.cores import process_pool
with process_pool(1) as pool:
    print(pool.submit(eval, "__import__('pyarrow').__file__ and __import__('os').environ['PYTHONSAFEPATH']").result())
"""


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [(["-P", "-c", IN_A_POOL], "1"), (["-m", "wakeword_pipeline.cli", "models", "--json"], "{")],
    ids=["a worker", "the command line"],
)
def test_modules_of_the_working_directory_are_not_run(tmp_path: Path, arguments: list[str], printed: str) -> None:
    folder = hostile_folder(tmp_path / "recordings")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "WAKEWORD_CONFIG": str(ROOT / "wakeword.yaml")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout.startswith(printed), done.stderr
    assert ran_in(folder) == set()


def test_there_is_no_other_way_to_start_python() -> None:
    ways = ("sys.executable", "get_context", "set_start_method", "os.fork", "posix_spawn", "multiprocessing.Process")
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("wakeword_core", "wakeword_pipeline")
        for path in (ROOT / package).rglob("*.py")
        if any(way in path.read_text(encoding="utf-8") for way in ways)
    }
    assert found == {"wakeword_core/python.py"}


def test_in_a_checkout_an_extra_is_installed_from_it() -> None:
    *command, place = shlex.split(install_command("serve", "listen"))
    assert command == [sys.executable, "-m", "pip", "install", "-e"]
    assert place.startswith("/") and place.endswith("[serve,listen]")


def test_elsewhere_its_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["torch", 'sounddevice>=0.5; extra == "listen"', "fastapi ; extra == 'serve'", 'other; extra == "speech"']
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(Path, "is_file", lambda path: path.name != "pyproject.toml")
    assert shlex.split(install_command("listen", "serve"))[3:] == ["install", "sounddevice>=0.5", "fastapi"]
