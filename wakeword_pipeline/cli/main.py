"""The command line: `wakeword ...`. Heavy imports wait until a command needs them, so that --help answers at once."""

import io
import logging
import os
import sys
from typing import Annotated

import typer

from wakeword_core import __version__
from wakeword_core.errors import ConfigError, WakewordError, sentence_of
from wakeword_core.python import install_command, keep_path_safe
from wakeword_core.text import printable
from wakeword_pipeline.cli import keeping, making, using

app = typer.Typer(
    help="Make a wake-word model from recordings, or from just a phrase, and trace it back to what it was made from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (making, using, keeping):
    app.add_typer(group.commands)

log = logging.getLogger(__name__)

_SPINS = "30000"
"""How often a waiting worker thread of torch looks for work before it sleeps: about 0.1 ms."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show debug lines, and the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Set up logging; these options stand before the command."""
    from wakeword_pipeline.cli.logs import setup_logging

    setup_logging("DEBUG" if verbose else None)


def main() -> None:
    """Run a command; exit with 0, 1 for a failed run or check, or 2 for bad usage or configuration."""
    # torch's worker threads spin while they wait, by default for milliseconds: beside any other busy process that
    # makes training 7 times slower. Not to spin at all costs a wake-up at every operation: a third slower when idle.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    keep_path_safe()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal's encoding lacks
    try:
        app()
    except WakewordError as error:
        log.debug("The error was raised here:", exc_info=error)
        print(f"wakeword: {printable(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        print("wakeword: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        log.debug("The error was raised here:", exc_info=error)
        name = printable(str(error.name))
        print(f"wakeword: this needs {name}, which is not installed: {install_command('train')}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        from wakeword_pipeline.orchestration.faults import fault_in_words

        log.debug("The error was raised here:", exc_info=error)
        hint = "" if log.isEnabledFor(logging.DEBUG) else "; run again with --verbose for the traceback"
        print(f"wakeword: {printable(fault_in_words(error) or sentence_of(error))}{hint}", file=sys.stderr)
        sys.exit(1)
