"""Where results live."""

import os
from pathlib import Path

import pytest
import yaml

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_pipeline.orchestration.home import ProjectOptions, config_path, home_path, prepare_home


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAKEWORD_HOME", "WAKEWORD_CONFIG", "WAKEWORD_DAGSTER", "DAGSTER_HOME", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_given_wins_over_environment_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_path() == tmp_path / ".wakeword" and config_path() == tmp_path / "wakeword.yaml"
    monkeypatch.setenv("WAKEWORD_HOME", str(tmp_path / "other"))
    assert home_path() == tmp_path / "other"
    assert home_path(tmp_path / "given") == tmp_path / "given"


def test_a_prepared_home_holds_all_of_dagsters_storage(tmp_path: Path) -> None:
    prepare_home(tmp_path / "home", tmp_path / "wakeword.yaml")
    instance = yaml.safe_load((tmp_path / "home" / "dagster" / "dagster.yaml").read_text())
    assert instance["storage"]["sqlite"]["base_dir"] == {"env": "WAKEWORD_DAGSTER"}
    assert os.environ["WAKEWORD_DAGSTER"] == os.environ["DAGSTER_HOME"] == str(tmp_path / "home" / "dagster")
    assert instance["telemetry"] == {"enabled": False}


def test_the_top_level_instance_file_is_the_same_one() -> None:
    top = Path(__file__).parents[3] / "dagster.yaml"
    assert top.read_text() == (top.parent / "wakeword_pipeline" / "orchestration" / "dagster.yaml").read_text()


def test_the_configuration_last_run_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "alexa.yaml"
    config.write_text("phrase: alexa")
    prepare_home(tmp_path / "home", config)
    monkeypatch.delenv("WAKEWORD_CONFIG")
    assert ProjectOptions(None, tmp_path / "home").config == config
    config.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        _ = ProjectOptions(None, tmp_path / "home").config


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WakewordError, match=r"cannot write to .*file.*choose another --home"):
        prepare_home(tmp_path / "file", tmp_path / "wakeword.yaml")


LINKED = [
    "dagster/history", "dagster/builds/x.lock", "registry/.robin.lock", "registry/robin.json", "cache/scan.sqlite",
    "mlruns/0123/artifacts", "mlflow.db", "mlflow.db-wal", "last.json", "forgotten.json", "gpu.lock",
]  # fmt: skip


@pytest.mark.parametrize("where", LINKED)
@pytest.mark.parametrize("what", ["file", "folder", "nothing", "fifo"])
def test_a_home_with_a_link_in_it_is_refused_before_anything_is_opened(tmp_path: Path, where: str, what: str) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    (home / where).parent.mkdir(parents=True)
    if what == "fifo":
        os.mkfifo(home / where)
    else:
        (home / where).symlink_to(victim)
    if what == "file":
        victim.write_text("mine")
    elif what == "folder":
        victim.mkdir()
    before = sorted(home.rglob("*"))
    with pytest.raises(WakewordError, match=rf"{where} is (a link|neither.*), which no home has there; .* remove it"):
        prepare_home(home, tmp_path / "wakeword.yaml")
    with pytest.raises(WakewordError, match="which no home has there"):
        _ = ProjectOptions(None, home).config
    assert sorted(home.rglob("*")) == before
    assert not victim.is_file() or victim.read_text() == "mine"


def test_a_home_and_its_folders_may_be_links_that_its_owner_made(tmp_path: Path) -> None:
    (disk := tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(disk)
    home = home_path(tmp_path / "home")
    (empty := tmp_path / "empty").mkdir()
    (home / "cache").symlink_to(empty)
    prepare_home(home, tmp_path / "wakeword.yaml")
    (home / "store" / "raw_manifest").mkdir()
    for name in ("store", "dagster"):  # moved to where there is room
        (home / name).rename(tmp_path / name)
        (home / name).symlink_to(tmp_path / name)
    prepare_home(home, tmp_path / "wakeword.yaml")
    assert (disk / "dagster" / "dagster.yaml").is_file()


def test_a_folder_of_another_home_or_of_a_person_is_not_taken_for_the_homes_own(tmp_path: Path) -> None:
    prepare_home(tmp_path / "mine", tmp_path / "wakeword.yaml")
    (tmp_path / "mine" / "store" / "model").mkdir()
    (tmp_path / "pictures" / "2024").mkdir(parents=True)
    foreign = tmp_path / "foreign"
    prepare_home(foreign, tmp_path / "wakeword.yaml")
    (foreign / "store").rename(tmp_path / "away")
    for target in (tmp_path / "mine" / "store", tmp_path / "pictures"):
        (foreign / "store").symlink_to(target)
        before = sorted(target.rglob("*"))
        with pytest.raises(WakewordError, match=r"store is a link to .*, which this home did not make: nothing there"):
            prepare_home(foreign, tmp_path / "wakeword.yaml")
        assert sorted(target.rglob("*")) == before
        (foreign / "store").unlink()
    (foreign / "store").symlink_to(tmp_path / "gone")
    with pytest.raises(WakewordError, match="where there is no folder; make it, or remove the link"):
        prepare_home(foreign, tmp_path / "wakeword.yaml")
