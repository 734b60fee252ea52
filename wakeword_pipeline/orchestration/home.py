"""Where a project's configuration and results are, and how Dagster is pointed at them."""

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.errors import ConfigError, WakewordError, reason_of
from wakeword_core.files import read_json, remove_abandoned_parts, write_text
from wakeword_core.store.locks import exclusive
from wakeword_pipeline.home_log import FOLDER as LOGS
from wakeword_pipeline.home_log import log_to_home
from wakeword_pipeline.postgres import postgres_address
from wakeword_pipeline.search import DATABASE, SEARCHES
from wakeword_pipeline.tracking import TRACKERS

if TYPE_CHECKING:
    import dagster as dg

    from wakeword_core.graph.project import Project

HOME_VARIABLE = "WAKEWORD_HOME"
CONFIG_VARIABLE = "WAKEWORD_CONFIG"
POSTGRES_VARIABLE = "WAKEWORD_POSTGRES_URL"
DEFAULT_HOME = ".wakeword"
DEFAULT_CONFIG = "wakeword.yaml"
_LAST = "last.json"
_NOT_IN_ADDRESSES = "?%"
_FOLDERS = ("store", "cache", "registry", "dagster", "mlruns", "lr_find", SEARCHES, LOGS, TRACKERS)
_FILES = (
    *(_LAST, "forgotten.json", "gpu.lock"),
    *("mlflow.db", "mlflow.db-journal", "mlflow.db-wal", "mlflow.lock"),
    *(DATABASE, f"{DATABASE}-journal", "search.lock"),
)
_MARK = ".wakeword-home"
"""A file with the same random text in a home and in each of its folders, so that a folder that was moved elsewhere is
known behind a link."""
_DATABASES = ("schedules", "history")
"""Folders of Dagster's databases."""
_MARK_LENGTH = 32
_INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")


@dataclass(frozen=True)
class ProjectOptions:
    """The options that name a project on the command line: --config, --home and --set."""

    given_config: Path | None = None
    given_home: Path | None = None
    settings: Sequence[str] = ()

    @property
    def home(self) -> Path:
        """The home, absolute."""
        return home_path(self.given_home)

    @property
    def config(self) -> Path:
        """The configuration: as given, else of the environment, else the last run on the home, else the default."""
        last = self.home / _LAST
        require_own(self.home)
        if self.given_config or os.environ.get(CONFIG_VARIABLE) or not last.is_file():
            return config_path(self.given_config)
        try:
            path = Path(read_json(last)["config"])
            if not path.is_absolute() or not str(path).isprintable():
                raise ValueError("it names no file")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{last} should name the configuration that was last run, but cannot be read ({reason_of(error)}); "
                "name one with --config"
            ) from error
        if not path.is_file():
            raise ConfigError(f"{path}, which was last run on {self.home}, is gone; name a configuration with --config")
        return path

    def project(self) -> "Project":
        """Open the project; ConfigError for a configuration that is missing or wrong."""
        from wakeword_core.config.loading import load_config
        from wakeword_core.graph.project import Project

        return Project(load_config(self.config, self.settings), self.home)


def home_path(given: Path | None = None) -> Path:
    """Return the home: as given, else from the environment, else `.wakeword` here; absolute.

    ConfigError for a file, and for a path that no database can have.
    """
    home = _expanded(given or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME))
    if home.is_file():
        raise ConfigError(f"the home {home} is a file; name a folder with --home")
    for character in _NOT_IN_ADDRESSES:
        if character in str(home):
            raise ConfigError(
                f"the home {home} has {character!r} in its path, which Dagster and MLflow would take for a part of an "
                "address: choose another --home, or give its folder another name"
            )
    if not str(home).isprintable() or os.fsencode(home).decode(errors="replace") != str(home):
        raise ConfigError(
            f"the path of the home {str(home)!r} has control characters, or bytes that are not UTF-8: choose another "
            "--home, or give its folder another name"
        )
    return home


def config_path(given: Path | None = None) -> Path:
    """Return the configuration: as given, else from the environment, else `wakeword.yaml` here; absolute."""
    return _expanded(given or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG))


def _expanded(path: Path) -> Path:
    """Make a path absolute; `~` and `$NAME` are what a shell takes them for, unless there is such a file."""
    if path.exists():
        return path.resolve()
    try:
        expanded = Path(os.path.expandvars(path.expanduser()))
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}") from error
    unset = re.search(r"\$\{?(\w+)", str(expanded))
    if unset and not expanded.exists():
        raise ConfigError(f"{path} names the variable {unset[1]}, which is not set")
    return expanded.resolve()


def require_own(home: Path) -> None:
    """Refuse a home in which a link, or anything that is neither file nor folder, may lead to what is not its own.

    The home itself may be a link, and so may each of its folders (`HOME/store -> /big/disk/store`) where what is behind
    it is empty or was made by this home. Further inside nothing may: a home that somebody else packed may hold links to
    any file of who opens it. In the store, which may be large, the store itself looks out for links; what trackers were
    told nothing reads, and they look before they write.
    """
    for name in _FILES:
        if not _is_ordinary(home / name):
            raise _not_own(home / name)
    for name in _FOLDERS:
        folder = home / name
        if folder.is_symlink():
            _require_mark(folder, home)
        for path in () if name in ("store", TRACKERS) else _neither_files_nor_folders(folder.resolve()):
            raise _not_own(path)


def _neither_files_nor_folders(folder: Path) -> Iterator[Path]:
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _is_ordinary(path: Path) -> bool:
    """Tell whether a path is a file, a folder, or nothing; not whether a link leads to one."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _not_own(path: Path) -> WakewordError:
    what = "a link" if path.is_symlink() else "neither a file nor a folder"
    return WakewordError(f"{path} is {what}, which no home has there; nothing was opened or changed: remove it")


def _require_mark(folder: Path, home: Path) -> None:
    target = folder.resolve()
    if not target.is_dir():
        raise WakewordError(f"{folder} is a link to {target}, where there is no folder; make it, or remove the link")
    mark = _mark_of(home)
    if any(target.iterdir()) and (not mark or _mark_of(target) != mark):
        raise WakewordError(
            f"{folder} is a link to {target}, which this home did not make: nothing there was opened or changed. "
            f"Remove the link; or, if that folder belongs to this home, copy {home / _MARK} into it"
        )


def _mark_of(folder: Path) -> str:
    path = folder / _MARK
    if not path.is_file() or not _is_ordinary(path):
        return ""
    return path.read_text(encoding="ascii", errors="replace")[:_MARK_LENGTH]


def _mark_folders(home: Path) -> None:
    mark = _mark_of(home)
    if not mark:
        mark = secrets.token_hex(_MARK_LENGTH // 2)
        write_text(home / _MARK, mark)
    for folder in (home / name for name in _FOLDERS):
        _let_be(folder / _MARK, mark)


def _let_be(path: Path, text: str) -> None:
    """Write a file unless it has this text: `wakeword gc` is to work on a disk that is almost full."""
    if not path.is_file() or not _is_ordinary(path) or path.read_bytes() != text.encode():
        write_text(path, text)


def prepare_home(home: Path, config: Path) -> None:
    """Make the home, and set the environment so that Dagster and its child processes use it and this configuration."""
    require_own(home)
    dagster_home = home / "dagster"
    try:
        dagster_home.mkdir(parents=True, exist_ok=True)
        _let_be(dagster_home / "dagster.yaml", _instance_text())
        for name in _FOLDERS:
            (home / name).mkdir(exist_ok=True)
        _mark_folders(home)
        for folder in (home, *(home / name for name in _FOLDERS)):
            remove_abandoned_parts(folder)
        _let_be(home / _LAST, json.dumps({"config": str(config)}))
    except OSError as error:
        raise WakewordError(f"cannot write to {home}: {error.strerror}; choose another --home") from error
    log_to_home(home)
    os.environ["DAGSTER_HOME"] = os.environ["WAKEWORD_DAGSTER"] = str(dagster_home)
    os.environ[HOME_VARIABLE] = str(home)
    os.environ[CONFIG_VARIABLE] = str(config)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "true")


def open_instance(home: Path) -> "dg.DagsterInstance":
    """Open Dagster on a home that is prepared.

    Dagster makes its databases when it is first opened. Two processes that do so at once, or one that is killed then,
    would leave some that cannot be opened again: they are made beside, by one at a time, and appear whole.
    """
    import dagster as dg

    folder = home / "dagster"
    with exclusive(folder / ".lock", "another process opens Dagster's databases"):
        if not any((folder / name).exists() for name in _DATABASES) and not os.environ.get(POSTGRES_VARIABLE):
            new = folder / ".new"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            os.environ["WAKEWORD_DAGSTER"] = str(new)
            try:
                with dg.DagsterInstance.get():
                    pass
            finally:
                os.environ["WAKEWORD_DAGSTER"] = str(folder)
            for name in _DATABASES:
                (new / name).rename(folder / name)
            shutil.rmtree(new)
        return dg.DagsterInstance.get()


@contextmanager
def gpu_slot(home: Path) -> Iterator[None]:
    """Hold the one slot on the GPU that all processes of a home share; waits while another has it."""
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / "gpu.lock", "another run uses the GPU"):
        yield


def _instance_text() -> str:
    """Write Dagster's instance file; with PostgreSQL it names the variable that holds the address, not the address."""
    text = _INSTANCE_FILE.read_text(encoding="utf-8")
    if not (address := postgres_address(POSTGRES_VARIABLE)):
        return text
    import yaml

    os.environ[POSTGRES_VARIABLE] = address
    tree = yaml.safe_load(text)
    tree["storage"] = {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
    return yaml.safe_dump(tree, sort_keys=False)
