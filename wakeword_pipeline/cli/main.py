"""The command line: `wakeword ...`. Heavy imports wait until a command needs them, so that --help answers at once."""

import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from wakeword_core import __version__
from wakeword_core.errors import ConfigError, WakewordError, sentence_of
from wakeword_core.python import install_command, keep_path_safe
from wakeword_core.text import printable
from wakeword_pipeline.cli.arguments import (
    Alone,
    AsJson,
    Audio,
    AudioOrFolders,
    ConfigFile,
    Home,
    Keep,
    Model,
    Reason,
    Sensitivity,
    Settings,
    Threshold,
)
from wakeword_pipeline.cli.commands.ui import Address, Service, open_ui
from wakeword_pipeline.orchestration.home import ProjectOptions, config_path, home_path

app = typer.Typer(
    help="Make a wake-word model from recordings, or from just a phrase, and trace it back to what it was made from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

log = logging.getLogger(__name__)

_SPINS = "30000"
"""How often a waiting worker thread of torch looks for work before it sleeps: about 0.1 ms."""


def _options(config: Path | None, home: Path | None, settings: list[str] | None) -> ProjectOptions:
    return ProjectOptions(config, home, settings or ())


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


@app.command()
def demo(
    home: Home = None,
    phrase: Annotated[str, typer.Option(help='The wake word, such as "hello house".')] = "hey robin",
    fast: Annotated[bool, typer.Option(help="Use a smaller data set and a smaller model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Synthesize a data set for a phrase, build a model from it, and print the result."""
    from wakeword_pipeline.cli.commands.run import run_demo

    run_demo(home_path(home), phrase, fast=fast, as_json=as_json)


@app.command()
def run(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option(
            "--without", metavar="NAME", help="Leave out a part of training, such as mixup, to see what it is worth."
        ),
    ] = None,
    select: Annotated[list[str] | None, typer.Option(help="Build only this asset; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the model of a configuration, recorded in Dagster. Only what changed is built again."""
    from wakeword_core.ablations import without
    from wakeword_pipeline.cli.commands.run import run_config

    changed = [*without(left_out or []), *(settings or [])]
    run_config(ProjectOptions(config_path(config), home, changed), select or [], as_json=as_json)


@app.command()
def cross_validate(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    folds: Annotated[
        int, typer.Option(min=2, max=50, help="Number of builds, each with other speakers in its test.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Build and test the model once for each fold of the speakers, and print mean and spread."""
    from wakeword_pipeline.cli.commands.folds import run_folds

    run_folds(_options(config_path(config), home, settings), folds, as_json=as_json)


@app.command()
def ui(
    config: ConfigFile = None,
    home: Home = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Answer to this name, too, as of a proxy; may be repeated."),
    ] = None,
    without_token: Annotated[
        bool,
        typer.Option("--without-token", help="Listen where others reach it without a token: they can do what you can."),
    ] = False,
    service: Annotated[
        Service, typer.Option(help="Run only one of Dagster's two processes, as a service on a server.")
    ] = Service.BOTH,
) -> None:
    """Open Dagster on a home: its graph, runs, checks and lineage."""
    open_ui(ProjectOptions(config, home), Address(host, port, allowed_hosts or (), without_token), service)


@app.command()
def status(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show for each asset whether it is fresh, stale (and why) or missing."""
    from wakeword_pipeline.cli.commands.status import show_status

    show_status(_options(config, home, settings), as_json=as_json)


@app.command()
def sources(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show what each source of recordings holds, and what of it is refused and why, before anything is built."""
    from wakeword_pipeline.cli.commands.sources import show_sources

    show_sources(_options(config, home, settings), as_json=as_json)


@app.command()
def lineage(
    what: Annotated[
        str, typer.Argument(help="A model file, an artifact (its key, name or folder) or a recording (its path or id).")
    ],
    home: Home = None,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="List the recordings it was made from, one a line.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what something was made from, down to the recordings, and what was made from it."""
    from wakeword_pipeline.cli.commands.lineage import show_lineage

    show_lineage(what, home, recordings=recordings, as_json=as_json)


@app.command()
def verify(
    model: Model, config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Check that a model file is unaltered, from this home, and what would be built now; exit with 1 if not."""
    from wakeword_pipeline.cli.commands.verify import verify_model

    verify_model(model, _options(config, home, settings), as_json=as_json)


@app.command()
def forget(
    recording: Annotated[
        str | None,
        typer.Argument(
            help="A recording or a folder of them: its path, even if it is gone, or an id or at least 8 digits of it."
        ),
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Forget every recording of this speaker, now and later.")] = None,
    reason: Reason = "",
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build everything that was made from it again, without it.")
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete everything that was made from it, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with yes.")] = False,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Never use a recording or a speaker again, and list the artifacts and models made from it."""
    from wakeword_pipeline.cli.commands.forget import ForgetRequest, run_forget

    request = ForgetRequest(recording, speaker, reason, rebuild=rebuild, purge=purge, ask=not yes)
    run_forget(request, _options(config, home, settings), as_json=as_json)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, max=1_000, help="Number of last builds whose artifacts are kept.")] = 3,
    deletes: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    compacts: Annotated[
        bool, typer.Option("--compact", help="Before that, write shards and features anew without dead rows.")
    ] = False,
    remote: Annotated[bool, typer.Option("--remote", help="Look at the remote instead of the home.")] = False,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List artifacts that nothing needs any more; delete them with --delete."""
    from wakeword_pipeline.cli.commands.gc import collect_garbage, collect_remote_garbage

    options = _options(config, home, settings)
    if remote and compacts:
        raise ConfigError("--compact writes artifacts of the home anew, so it goes without --remote")
    if remote:
        collect_remote_garbage(options, keep, deletes=deletes, as_json=as_json)
    else:
        collect_garbage(options, keep, deletes=deletes, compacts=compacts, as_json=as_json)


@app.command()
def push(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Upload the artifacts of the present recordings and settings to the remote, for other machines."""
    from wakeword_pipeline.cli.commands.remote import push_artifacts

    push_artifacts(_options(config, home, settings), as_json=as_json)


@app.command()
def pull(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Fetch the artifacts of the present recordings and settings from the remote, as far as it has them."""
    from wakeword_pipeline.cli.commands.remote import pull_artifacts

    pull_artifacts(_options(config, home, settings), as_json=as_json)


@app.command()
def models(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List every model of the project: champion, candidate, refused or retired, and why."""
    from wakeword_pipeline.cli.commands.models import show_models

    show_models(_options(config, home, settings), as_json=as_json)


@app.command()
def promote(
    key: Annotated[str, typer.Argument(help="The key of a model, or its beginning, as `wakeword models` shows it.")],
    force: Annotated[bool, typer.Option("--force", help="Overrule the registry's gate; needs --reason.")] = False,
    reason: Reason = "",
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Make a candidate champion, or with --force any model whose files are there."""
    from wakeword_pipeline.cli.commands.models import promote_model

    promote_model(key, reason, _options(config, home, settings), force=force)


@app.command()
def rollback(reason: Reason = "", config: ConfigFile = None, home: Home = None, settings: Settings = None) -> None:
    """Make the previous champion champion again. The present one does not come back by itself."""
    from wakeword_pipeline.cli.commands.models import roll_back

    roll_back(reason, _options(config, home, settings))


@app.command()
def lr_find(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    low: Annotated[float, typer.Option(min=1e-12, max=1, help="Learning rate to begin with.")] = 1e-6,
    high: Annotated[float, typer.Option(min=1e-12, max=100, help="Learning rate to end with.")] = 1.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="Number of batches, each at a higher rate.")] = 200,
    out: Annotated[Path | None, typer.Option(help="File for the picture. \\[default: in the home]")] = None,
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate: train on the built features at rising rates, and see where the loss is lowest."""
    from wakeword_pipeline.cli.commands.lr import find_learning_rate

    options = _options(config_path(config), home, settings)
    find_learning_rate(options, (low, high, steps), out, as_json=as_json)


@app.command()
def search(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    trials: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Trials of the search in all. \\[default: search.trials]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try the settings that search.space names, and show which are best on validation. Several may run at once."""
    from wakeword_pipeline.cli.commands.search import search_settings

    asked = [] if trials is None else [f"search.trials={trials}"]
    search_settings(ProjectOptions(config_path(config), home, [*(settings or []), *asked]), as_json=as_json)


@app.command()
def score(
    model: Model,
    audio: Audio,
    out: Annotated[Path, typer.Option(help="File (.npz) for the arrays `time` (seconds) and `score`.")],
    alone: Alone = False,
) -> None:
    """Write the score of every window of recordings to a file."""
    from wakeword_core.runtime.live import open_model
    from wakeword_core.runtime.model import score_files

    count = score_files(open_model(model, alone=alone), audio, out)
    print(printable(f"{count} scores of {len(audio)} recording{'s' if len(audio) > 1 else ''} in {out}"))


@app.command()
def detect(
    model: Model,
    audio: AudioOrFolders,
    sensitivity: Sensitivity = None,
    threshold: Threshold = None,
    alone: Alone = False,
    as_json: AsJson = False,
) -> None:
    """Find the wake word in recordings. One that cannot be read is told of, and the others are looked through."""
    from wakeword_pipeline.cli.commands.detect import detect as detect_in

    detect_in(model, audio, sensitivity, threshold, alone=alone, as_json=as_json)


@app.command()
def listen(
    model: Model,
    device: Annotated[
        str | None, typer.Option(help="Number of the microphone, or part of its name. \\[default: the system's]")
    ] = None,
    sensitivity: Sensitivity = None,
    threshold: Threshold = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Stop after this many seconds. \\[default: never]")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A `wakeword serve` that confirms each detection before it counts."),
    ] = None,
    judge_absent: Annotated[
        Literal["accept", "reject"], typer.Option(help="What becomes of detections where the judge gives no answer.")
    ] = "accept",
    keep: Keep = None,
    alone: Alone = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each detection as a line of JSON.")] = False,
) -> None:
    """Find the wake word in what the microphone hears."""
    from wakeword_pipeline.cli.commands.listen import listen as listen_to

    listen_to(
        model,
        device,
        sensitivity,
        threshold,
        seconds,
        alone=alone,
        as_json=as_json,
        judge_url=judge,
        judge_absent=judge_absent,
        keep=keep,
    )


@app.command()
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Exported .onnx files, or their folders; several need --wyoming. \\[default: the home's champion]",
        ),
    ] = None,
    judge: Annotated[Path | None, typer.Option(help="A second model that confirms what the first one detects.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. \\[default: serving.host]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on. \\[default: serving.port]")
    ] = None,
    wyoming: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Answer Home Assistant, too, at an address such as tcp://127.0.0.1:10400."
        ),
    ] = None,
    without_http: Annotated[bool, typer.Option("--no-http", help="Answer at the address of --wyoming only.")] = False,
    keep: Keep = None,
    sensitivity: Sensitivity = None,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Serve a model over HTTP and WebSockets, with a page that listens in the browser, and to Home Assistant."""
    from wakeword_pipeline.cli.commands.serve import serve_model

    given = {"host": host, "port": port, "wyoming": wyoming, "sensitivity": sensitivity}
    given |= {"http": False if without_http else None, "keep.folder": None if keep is None else str(keep)}
    named = [f"serving.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    serve_model(models or (), judge, ProjectOptions(config, home, [*(settings or []), *named]))


@app.command()
def captures(
    folder: Annotated[Path, typer.Argument(help="What was given to --keep.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete them all.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what `serve --keep` or `listen --keep` has kept in a folder, or delete it."""
    from wakeword_pipeline.cli.commands.captures import delete_captures, list_captures

    delete_captures(folder) if delete else list_captures(folder, as_json=as_json)


@app.command()
def export(
    target: Annotated[
        Literal["esphome", "openwakeword", "onnx", "torch"], typer.Option("--to", help="What will run the model.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files.")],
    model: Annotated[
        Path | None,
        typer.Argument(
            help="An exported .onnx file, or the folder that holds model.onnx. \\[default: the home's champion]"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder with other files, over those of the same names.")
    ] = False,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Put the files that a device or program takes into a folder, or say which setting builds them."""
    from wakeword_pipeline.cli.commands.export import export_model

    export_model(model, target, out, _options(config, home, settings), force=force, as_json=as_json)


@app.command()
def synth(
    phrase: Annotated[str, typer.Argument(help="The text to speak.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the recordings.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of recordings, each in another voice.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of voices.")] = 1,
    say: Annotated[bool, typer.Option("--say", help="Play the first one only, and print how it is said.")] = False,
    ipa: Annotated[list[str] | None, typer.Option(help="How to say it (IPA); may be repeated.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file whose settings of synthesis hold.")] = None,
    settings: Settings = None,
) -> None:
    """Synthesize recordings of a text."""
    from wakeword_pipeline.cli.commands.synth import say_phrase, synth_phrase

    if say:
        say_phrase(phrase, out, seed, ipa or (), config, settings or ())
    else:
        synth_phrase(phrase, out, count, seed, ipa or (), config, settings or ())


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
