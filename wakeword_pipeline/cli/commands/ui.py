"""`wakeword ui`: open Dagster, or run one of its two processes as a service."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import wakeword_pipeline
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.python import python_command
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions, open_instance, prepare_home

if TYPE_CHECKING:
    import uvicorn

TOKEN_VARIABLE = "WAKEWORD_TOKEN"  # noqa: S105  the name of a variable
_CODE = str(Path(wakeword_pipeline.__file__).parents[1])
"""Where Dagster looks for code first. By itself it takes the working directory, where anything may lie."""
_DAEMON = ("-m", "dagster._daemon", "run", "-m", "wakeword_pipeline.orchestration.definitions", "-d", _CODE)
_NOT_WARNED_OF = "Function `observable_source_asset` is currently in beta"
_STOP_SECONDS = 60.0


class Service(StrEnum):
    """The processes of Dagster to run."""

    BOTH = "both"
    WEB = "web"
    DAEMON = "daemon"


@dataclass(frozen=True)
class Address:
    """Where the pages are, and who may use them."""

    host: str = "127.0.0.1"
    port: int = 3000
    allowed_hosts: Sequence[str] = ()
    """Further names of the server, as of a reverse proxy in front of it."""
    without_token: bool = False
    """Listen where others reach it and ask nobody for a token."""


def open_ui(options: ProjectOptions, address: Address, service: Service) -> None:
    """Run Dagster's web server, its daemon, or both, on a home that is made ready for them."""
    home = options.home
    prepare_home(home, options.config)
    os.chdir(home.anchor)  # Dagster takes over the variables in the working directory's `.env`, PYTHONPATH among them
    with open_instance(home) as instance:  # Dagster's processes must find its databases made
        if service is not Service.WEB:
            from wakeword_pipeline.orchestration.runs import close_lost_runs

            # What the last daemon left undone when it was killed, the next one starts again.
            close_lost_runs(instance)
    os.environ.setdefault("PYTHONWARNINGS", f"ignore:{_NOT_WARNED_OF}")  # by each process that loads the assets
    if service is Service.DAEMON:
        command = python_command(*_DAEMON)
        os.execv(command[0], command)  # noqa: S606
    _serve(home, address, with_daemon=service is Service.BOTH)


def _serve(home: Path, address: Address, *, with_daemon: bool) -> None:
    """Serve the pages until Ctrl-C or SIGTERM; WakewordError when the daemon ends before."""
    from wakeword_core.serving.network import LOOPBACK_NAMES, is_loopback, listening_socket, read_token
    from wakeword_pipeline.orchestration.web import serve_pages

    token = read_token(TOKEN_VARIABLE)
    with listening_socket(address.host, address.port) as listener, _ended_by_sigterm(), suppress(KeyboardInterrupt):
        if not (token or address.without_token or is_loopback(listener.getsockname()[0])):
            raise ConfigError(
                f"--host {address.host} is an address that others reach, and whoever reaches it starts runs, and reads "
                f"and writes what you can: set a token in the environment variable {TOKEN_VARIABLE}, or say "
                "--without-token where something else, such as a reverse proxy, asks for a password"
            )
        hosts = (*LOOPBACK_NAMES, address.host, *address.allowed_hosts)
        with _daemon(with_daemon) as daemon:

            def started(server: "uvicorn.Server") -> None:
                where = printable(f"http://{address.host}:{address.port} (home {home})")
                print(f"Dagster on {where}; stop it with Ctrl-C", flush=True)
                if daemon is not None:
                    threading.Thread(target=_end_with, args=(daemon, server), daemon=True).start()

            serve_pages(listener, hosts, token, _CODE, started)
            if daemon is not None and daemon.poll() is not None:
                raise WakewordError(f"Dagster's daemon ended with status {daemon.returncode}; see what it wrote above")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End as with Ctrl-C, and so what was started as well."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _daemon(wanted: bool) -> Iterator[subprocess.Popen[bytes] | None]:
    if not wanted:
        yield None
        return
    with subprocess.Popen(python_command(*_DAEMON)) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _end_with(daemon: subprocess.Popen[bytes], server: "uvicorn.Server") -> None:
    daemon.wait()
    server.should_exit = True
