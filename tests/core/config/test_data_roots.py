"""WAKEWORD_DATA_ROOTS bounds what a configuration or a launchpad may name."""

import os
from pathlib import Path

import pytest

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError
from wakeword_core.graph.project import Project
from wakeword_pipeline.orchestration.resources import ProjectResource

SOURCE = "data: {{sources: [{{name: kitchen, path: {path}, role: positive}}]}}\n"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """One that is allowed and one that is not; a link in the first leads to the second."""
    allowed, other = tmp_path / "allowed", tmp_path / "allowed-not"
    for folder in (allowed, other):
        (folder / "recordings").mkdir(parents=True)
        (folder / "wakeword.yaml").write_text(SOURCE.format(path="recordings"))
    (allowed / "link").symlink_to(other)
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", os.pathsep.join([str(allowed), "/no/such/folder"]))
    return allowed, other


def test_what_lies_inside_is_used(folders: tuple[Path, Path]) -> None:
    allowed, _ = folders
    assert load_config(allowed / "wakeword.yaml").data.sources[0].path == allowed / "recordings"
    project = ProjectResource(config_path=str(allowed / "wakeword.yaml"), home=str(allowed / "home")).open()
    assert project.home == allowed / "home"


@pytest.mark.parametrize(
    "named", ["OTHER/wakeword.yaml", "ALLOWED/link/wakeword.yaml", "ALLOWED/../x.yaml", "/etc/passwd"]
)
def test_a_configuration_elsewhere_is_not_even_looked_at(folders: tuple[Path, Path], named: str) -> None:
    path = named.replace("ALLOWED", str(folders[0])).replace("OTHER", str(folders[1]))
    with pytest.raises(ConfigError, match=r"the configuration file .* lies outside of .*WAKEWORD_DATA_ROOTS"):
        load_config(Path(path))


@pytest.mark.parametrize(
    "path", ["OTHER/recordings", "link/recordings", "../allowed-not/recordings", "link/table.csv", "/"]
)
def test_sources_elsewhere_are_refused(folders: tuple[Path, Path], path: str) -> None:
    config = folders[0] / "wakeword.yaml"
    config.write_text(SOURCE.format(path=path.replace("OTHER", str(folders[1]))))
    with pytest.raises(ConfigError, match=r"data\.sources\.0\.path: .* lies outside of"):
        load_config(config)
    with pytest.raises(ConfigError, match=r"data\.sources\.0\.path: .* lies outside of"):
        load_config(None, [f"data.sources=[{{name: a, role: positive, path: {folders[1]}}}]"])
    linking = (
        f"data.sources=[{{name: a, role: positive, path: {folders[0]}, link_roots: [{folders[0]}, {folders[1]}]}}]"
    )
    with pytest.raises(ConfigError, match=r"data\.sources\.0\.link_roots\.1: .* lies outside of"):
        load_config(None, [linking])


def test_homes_judges_and_sources_that_become_links_are_refused(folders: tuple[Path, Path]) -> None:
    allowed, other = folders
    with pytest.raises(ConfigError, match=r"the home .* lies outside of"):
        ProjectResource(config_path=str(allowed / "wakeword.yaml"), home=str(allowed / "link" / "home")).open()
    assert not (other / "home").exists()
    with pytest.raises(ConfigError, match=r"serving\.cascade\.judge: .* lies outside of"):
        load_config(None, [f"serving.cascade.judge={other}"])
    project = Project(load_config(allowed / "wakeword.yaml"), allowed / "home")
    (allowed / "recordings").rmdir()
    (allowed / "recordings").symlink_to(other / "recordings")
    with pytest.raises(ConfigError, match=r"source 'kitchen': .* lies outside of"):
        project.listing()


@pytest.mark.parametrize("roots", [" ", ":", "data", "/tmp:data"])
def test_roots_that_are_no_absolute_folders_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: str
) -> None:
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", roots)
    with pytest.raises(ConfigError, match="must hold absolute folders"):
        Project(Config(), tmp_path)
