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
