"""`wakeword ui`: open Dagster, or run one of its two processes as a service."""

import os
import sys
from enum import StrEnum

from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions, prepare_home

_DEFINITIONS = ("-m", "wakeword_pipeline.orchestration.definitions")
_NOT_WARNED_OF = "Function `observable_source_asset` is currently in beta"


class Service(StrEnum):
    """The processes of Dagster to run."""

    BOTH = "both"
    WEB = "web"
    DAEMON = "daemon"


def open_ui(options: ProjectOptions, host: str, port: int, service: Service) -> None:
    """Replace this process by Dagster's web server, its daemon, or both, on a home that is made ready for them."""
    prepare_home(options.home, options.config)
    if service is not Service.WEB:
        import dagster as dg

        from wakeword_pipeline.orchestration.runs import close_lost_runs

        # What the last daemon left undone when it was killed, the next one starts again.
        with dg.DagsterInstance.get() as instance:
            close_lost_runs(instance)
    if service is not Service.DAEMON:
        print(printable(f"Dagster on http://{host}:{port} (home {options.home}); stop it with Ctrl-C"), flush=True)
    os.environ.setdefault("PYTHONWARNINGS", f"ignore:{_NOT_WARNED_OF}")  # by each process that loads the assets
    os.execv(sys.executable, [sys.executable, *_arguments(host, port, service)])


def _arguments(host: str, port: int, service: Service) -> list[str]:
    if service is Service.DAEMON:
        return ["-m", "dagster._daemon", "run", *_DEFINITIONS]
    command = ["-m", "dagster_webserver"] if service is Service.WEB else ["-m", "dagster", "dev"]
    return [*command, *_DEFINITIONS, "--host", host, "--port", str(port)]
