"""The command that installs what is missing: right for how this was installed, and never a name that is not ours."""

import shlex
import sys
from importlib import metadata

import pytest

from wakeword_core import errors
from wakeword_core.errors import install_command


def test_in_a_checkout_an_extra_is_installed_from_it() -> None:
    *command, place = shlex.split(install_command("serve", "listen"))
    assert command == [sys.executable, "-m", "pip", "install", "-e"]
    assert place.startswith("/") and place.endswith("[serve,listen]")


def test_elsewhere_its_packages_are_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["torch", 'sounddevice>=0.5; extra == "listen"', "fastapi ; extra == 'serve'", 'other; extra == "speech"']
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "wakeword_core" / "errors.py"))
    assert shlex.split(install_command("listen", "serve"))[3:] == ["install", "sounddevice>=0.5", "fastapi"]
