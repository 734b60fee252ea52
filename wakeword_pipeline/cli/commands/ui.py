"""The command that opens Dagster, or runs one of the two processes that it consists of, as a service."""

import os
import sys
from enum import StrEnum
from pathlib import Path

from wakeword_pipeline.orchestration.home import config_of, home_path, prepare_home

_DEFINITIONS = ("-m", "wakeword_pipeline.orchestration.definitions")
_NOT_WARNED_OF = "Function `observable_source_asset` is currently in beta"


class Service(StrEnum):
    """What of Dagster to run."""

    BOTH = "both"
    WEB = "web"
    DAEMON = "daemon"


def open_ui(config: Path | None, home: Path | None, host: str, port: int, service: Service) -> None:
    """Become Dagster's web server, its daemon, or both, on a home that is made ready for them."""
    folder = home_path(home)
    prepare_home(folder, config_of(folder, config))
    if service is not Service.WEB:
        _close_lost_runs()
    if service is not Service.DAEMON:
        print(f"Dagster on http://{host}:{port} (home {folder}); stop it with Ctrl-C", flush=True)
    os.environ.setdefault("PYTHONWARNINGS", f"ignore:{_NOT_WARNED_OF}")  # by each process that loads the assets
    os.execv(sys.executable, [sys.executable, *_arguments(host, port, service)])


def _close_lost_runs() -> None:
    """What the last daemon left undone when it was killed, which the next one does again."""
    import dagster as dg

    from wakeword_pipeline.orchestration.runs import close_lost_runs

    with dg.DagsterInstance.get() as instance:
        close_lost_runs(instance)


def _arguments(host: str, port: int, service: Service) -> list[str]:
    if service is Service.DAEMON:
        return ["-m", "dagster._daemon", "run", *_DEFINITIONS]
    command = ["-m", "dagster_webserver"] if service is Service.WEB else ["-m", "dagster", "dev"]
    return [*command, *_DEFINITIONS, "--host", host, "--port", str(port)]
