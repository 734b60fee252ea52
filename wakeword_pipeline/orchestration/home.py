"""Where a project's configuration and results are, and how Dagster is pointed at them."""

import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.files import read_json, write_json, write_text
from wakeword_core.python import install_command

if TYPE_CHECKING:
    from wakeword_core.graph.project import Project

HOME_VARIABLE = "WAKEWORD_HOME"
CONFIG_VARIABLE = "WAKEWORD_CONFIG"
POSTGRES_VARIABLE = "WAKEWORD_POSTGRES_URL"
DEFAULT_HOME = ".wakeword"
DEFAULT_CONFIG = "wakeword.yaml"
_LAST = "last.json"
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
        if self.given_config or os.environ.get(CONFIG_VARIABLE) or not last.is_file():
            return config_path(self.given_config)
        path = Path(read_json(last)["config"])
        if not path.is_file():
            raise ConfigError(f"{path}, which was last run on {self.home}, is gone; name a configuration with --config")
        return path

    def project(self) -> "Project":
        """Open the project; ConfigError for a configuration that is missing or wrong."""
        from wakeword_core.config.loading import load_config
        from wakeword_core.graph.project import Project

        return Project(load_config(self.config, self.settings), self.home)


def home_path(given: Path | None = None) -> Path:
    """Return the home: as given, else from the environment, else `.wakeword` here; absolute."""
    return (given or Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)).resolve()


def config_path(given: Path | None = None) -> Path:
    """Return the configuration: as given, else from the environment, else `wakeword.yaml` here; absolute."""
    return (given or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)).resolve()


def prepare_home(home: Path, config: Path) -> None:
    """Make the home, and set the environment so that Dagster and its child processes use it and this configuration."""
    dagster_home = home / "dagster"
    try:
        dagster_home.mkdir(parents=True, exist_ok=True)
        instance = dagster_home / "dagster.yaml"
        text = _instance_text()
        if not instance.is_file() or instance.read_text(encoding="utf-8") != text:
            write_text(instance, text)
        write_json(home / _LAST, {"config": str(config)})
    except OSError as error:
        raise WakewordError(f"cannot write to {home}: {error.strerror}; choose another --home") from error
    os.environ["DAGSTER_HOME"] = os.environ["WAKEWORD_DAGSTER"] = str(dagster_home)
    os.environ[HOME_VARIABLE] = str(home)
    os.environ[CONFIG_VARIABLE] = str(config)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "true")


def _instance_text() -> str:
    """Write Dagster's instance file; with PostgreSQL it names the variable that holds the address, not the address."""
    text = _INSTANCE_FILE.read_text(encoding="utf-8")
    if not os.environ.get(POSTGRES_VARIABLE):
        return text
    if importlib.util.find_spec("dagster_postgres") is None:
        raise ConfigError(f"{POSTGRES_VARIABLE} is set, but dagster-postgres is missing: {install_command('postgres')}")
    import yaml

    # SQLAlchemy would take another driver than dagster-postgres brings along
    os.environ[POSTGRES_VARIABLE] = re.sub("^postgres(ql)?://", "postgresql+psycopg2://", os.environ[POSTGRES_VARIABLE])
    tree = yaml.safe_load(text)
    tree["storage"] = {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
    return yaml.safe_dump(tree, sort_keys=False)
