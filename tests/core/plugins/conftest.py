"""The toy project, and packages with plug-ins on the path."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mining"))

from installed_packages import Site, install_examples


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty folder on the path; what is imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield Site(folder)
    installed = {path.stem for path in folder.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in installed]:
        del sys.modules[name]


@pytest.fixture
def examples(site: Site) -> Site:
    """The folder with the examples of the document installed."""
    install_examples(site)
    return site
