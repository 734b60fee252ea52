"""The generated homes of the benchmarks, and a module beside the tests."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[3] / "benchmarks"):
    sys.path.insert(0, str(folder))

from bundled_home import Home  # noqa: E402


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that no test changes."""
    return Home(tmp_path_factory.mktemp("lineage"))


@pytest.fixture
def own_home(home: Home, tmp_path: Path) -> Home:
    """The same home to be changed: recordings are copies, artifacts too."""
    import copy
    import shutil

    own = copy.copy(home)
    own.folder = tmp_path / "own"
    shutil.copytree(home.folder, own.folder)
    own.path = own.folder / "home"
    tree = home.config.model_dump(mode="json")
    for source in tree["data"]["sources"]:
        source["path"] = source["path"].replace(str(home.folder), str(own.folder))
    own.config = type(home.config).model_validate(tree)
    own.store = type(home.store)(own.path / "store")
    return own
