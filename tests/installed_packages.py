"""Packages with plug-ins, as pip would install them: a folder on the path with modules and what they declare."""

import importlib
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"


class Site:
    """A folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, name: str, version: str, groups: Mapping[str, Mapping[str, str]], modules: Mapping[str, str]
    ) -> None:
        """Install a package, or another version of it: groups of entry points, and sources by their paths."""
        for older in self.folder.glob(f"{name.replace('-', '_')}-*.dist-info"):
            shutil.rmtree(older)
        facts = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [
            [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())] for group, entries in groups.items()
        ]
        (facts / "entry_points.txt").write_text("\n".join(line for group in lines for line in group))
        for path, source in modules.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source)
        importlib.invalidate_caches()


def install_examples(site: Site, version: str = "1.0") -> None:
    """Install the package of the document's examples, just as they stand there."""
    text = PAGE.read_text(encoding="utf-8")
    (project,) = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.S)]
    modules = {
        block.splitlines()[0].removeprefix("# "): block for block in re.findall(r"```python\n(.*?)```", text, re.S)
    }
    site.install(project["project"]["name"], version, project["project"]["entry-points"], modules)
