"""Where results live."""

import json
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_pipeline.orchestration.faults import fault_in_words
from wakeword_pipeline.orchestration.home import ProjectOptions, config_path, home_path, open_instance, prepare_home


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
    wrong = ("3", "null", '"alexa.yaml"', '"/a\\u0000"', '"/a\\u001b[2J"')
    for text in ("", "[]", "[" * 9_000, "{}", *(f'{{"config": {value}}}' for value in wrong)):
        (tmp_path / "home" / "last.json").write_text(text)
        with pytest.raises(
            ConfigError, match=r"last\.json should name the .* cannot be read .*; name one with --config"
        ):
            _ = ProjectOptions(None, tmp_path / "home").config
    for named in ("/dev/zero", str(tmp_path)):
        (tmp_path / "home" / "last.json").write_text(json.dumps({"config": named}))
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


@pytest.mark.parametrize("name", ["what?", "my%20home", "100%"])
def test_a_home_that_no_database_can_have_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="which Dagster and MLflow would take for a part of an address: choose"):
        home_path(tmp_path / name / "home")
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(ConfigError, match=r"choose another --home"):
        home_path(tmp_path / "link")
    for character in "\n\x1b\udcff":  # the last is a byte that is not UTF-8
        with pytest.raises(ConfigError, match="has control characters, or bytes that are not UTF-8") as caught:
            home_path(tmp_path / f"a{character}b")
        assert str(caught.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_tilde_and_variables_in_paths_are_what_a_shell_takes_them_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    assert home_path(Path("~/words")) == tmp_path / "me" / "words"
    assert config_path(Path("${DATA}/robin.yaml")) == tmp_path / "data" / "robin.yaml"
    monkeypatch.setenv("WAKEWORD_HOME", "$HOME/words")
    assert home_path() == tmp_path / "me" / "words"
    with pytest.raises(ConfigError, match="names the variable NOWHERE, which is not set"):
        home_path(Path("$NOWHERE/words"))
    with pytest.raises(ConfigError, match="~nobody-of-that-name"):
        home_path(Path("~nobody-of-that-name/words"))
    (tmp_path / "$NOWHERE").mkdir()
    assert home_path(tmp_path / "$NOWHERE") == tmp_path / "$NOWHERE"


def heads(home: Path) -> list[int]:
    """How many versions each of Dagster's databases says it has; one that Alembic can open has one."""
    counts = []
    for path in sorted((home / "dagster").rglob("*.db")):
        with closing(sqlite3.connect(path)) as database:
            counts += [database.execute("SELECT count(*) FROM alembic_version").fetchone()[0]]
    return counts


def test_dagster_is_opened_for_the_first_time_by_one_at_a_time_and_whole(tmp_path: Path) -> None:
    home = tmp_path / "it's caf\N{LATIN SMALL LETTER E WITH ACUTE} #1"
    prepare_home(home, tmp_path / "wakeword.yaml")
    (cut_off := home / "dagster" / ".new" / "history").mkdir(parents=True)
    (cut_off / "runs.db").write_bytes(b"killed while it was made")
    with ThreadPoolExecutor() as threads:
        instances = list(threads.map(lambda _: open_instance(home), range(2)))
    assert [instance.get_runs_count() for instance in instances] == [0, 0]
    assert heads(home) == [1, 1, 1] and not (home / "dagster" / ".new").exists()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose databases are made."""
    home = tmp_path_factory.mktemp("opened")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WAKEWORD_HOME", "WAKEWORD_CONFIG", "WAKEWORD_DAGSTER", "DAGSTER_HOME"):
            patch.setenv(name, "")
        prepare_home(home, home / "wakeword.yaml")
        open_instance(home).dispose()
    return home


@pytest.mark.parametrize("damage", ["two heads", "garbage", "cut", "folder"])
@pytest.mark.parametrize("name", ["history/runs.db", "schedules/schedules.db"])
def test_a_database_that_is_damaged_is_named_with_what_to_do(
    tmp_path: Path, opened: Path, name: str, damage: str
) -> None:
    home = tmp_path / "home"
    shutil.copytree(opened, home)
    prepare_home(home, tmp_path / "wakeword.yaml")
    path = home / "dagster" / name
    if damage == "two heads":  # as two first openings at once left it
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("INSERT INTO alembic_version VALUES ('5771160a95ad')")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        data = path.read_bytes()
        path.write_bytes(b"x" * len(data) if damage == "garbage" else data[: len(data) // 2])
    with pytest.raises(Exception) as caught:
        open_instance(home).get_runs()
    said = fault_in_words(caught.value)
    assert said.startswith(f"{path}, one of Dagster's databases, is damaged (") and "\n" not in said
    assert f"restore {home / 'dagster'} from a backup or move it away" in said
    shutil.move(home / "dagster", tmp_path / "away")
    prepare_home(home, tmp_path / "wakeword.yaml")
    assert open_instance(home).get_runs_count() == 0


def test_what_a_kill_left_half_written_goes_at_the_next_start(tmp_path: Path) -> None:
    from wakeword_core.files import replacing

    home = tmp_path / "home"
    prepare_home(home, tmp_path / "wakeword.yaml")
    names = (
        ".mlflow.db.0a1b0a1b0a1b.part",
        ".mlflow.db.0a1b0a1b0a1b.part-journal",
        "registry/.robin.json.2c2c2c2c2c2c.part",
    )
    strays = [home / name for name in names]
    for stray in strays:
        stray.write_text("half")
    (mine := home / ".film.part").write_text("of a browser")
    with replacing(home / "registry" / "ruben.json") as part:  # of another command, which is at work
        part.write_text("{}")
        prepare_home(home, tmp_path / "wakeword.yaml")
        assert [stray.exists() for stray in strays] == [False, False, True]
    prepare_home(home, tmp_path / "wakeword.yaml")
    assert not any(stray.exists() for stray in strays) and mine.exists()
    assert (home / "registry" / "ruben.json").read_text() == "{}"
