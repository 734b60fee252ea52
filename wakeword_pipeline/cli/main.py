"""The command line: `wakeword ...`. Heavy imports wait until a command needs them, so that --help answers at once."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from wakeword_core import __version__
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_pipeline.cli.commands.ui import Service, open_ui

app = typer.Typer(
    help="Make a wake word: recordings (or just a phrase) in, a calibrated model with its whole history out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Home = Annotated[
    Path | None, typer.Option(help="Folder for everything that is made. \\[default: $WAKEWORD_HOME or .wakeword]")
]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON object on the last line.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file. \\[default: wakeword.yaml]")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as training.schedule.epochs=30."),
]
Model = Annotated[Path, typer.Argument(help="An exported .onnx file, or the folder that holds model.onnx.")]
Audio = Annotated[list[Path], typer.Argument(help="Recordings.")]
Sensitivity = Annotated[
    str | None, typer.Option(help="strict, balanced or lenient: an operating point. \\[default: the model's own]")
]
Threshold = Annotated[float | None, typer.Option(min=0, max=1, help="Score that counts, in place of a sensitivity.")]
Reason = Annotated[str, typer.Option(help="Why, as it is to be remembered.")]
log = logging.getLogger(__name__)

_SPINS = "30000"
"""How often a waiting worker thread of torch looks for work before it sleeps: about 0.1 ms."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show tracebacks and debug lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before any command."""
    from wakeword_pipeline.cli.logs import setup_logging

    setup_logging("DEBUG" if verbose else None)


@app.command()
def demo(
    home: Home = None,
    phrase: Annotated[str, typer.Option(help="The wake word to make.")] = "hey robin",
    fast: Annotated[bool, typer.Option(help="A smaller data set and a smaller model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Synthesize a data set for a phrase, run everything, and print the result."""
    from wakeword_pipeline.cli.commands.run import run_demo

    run_demo(home, phrase, fast=fast, as_json=as_json)


@app.command()
def run(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="NAME", help="Leave out a part of training, to see what it is worth."),
    ] = None,
    select: Annotated[list[str] | None, typer.Option(help="Only these assets.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the wake word of a configuration, recorded in Dagster; only what changed is built."""
    from wakeword_core.ablations import without
    from wakeword_pipeline.cli.commands.run import run_config

    run_config(config, home, [*without(left_out or []), *(settings or [])], select or [], as_json=as_json)


@app.command()
def cross_validate(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    folds: Annotated[int, typer.Option(min=2, max=50, help="Builds, each with other speakers in its test.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Make and test the wake word once for each fold of the speakers: mean and spread."""
    from wakeword_pipeline.cli.commands.folds import run_folds

    run_folds(config, home, settings or [], folds, as_json=as_json)


@app.command()
def ui(
    config: ConfigFile = None,
    home: Home = None,
    host: Annotated[str, typer.Option(help="Address to listen on; there is no login.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    service: Annotated[Service, typer.Option(help="One of its two processes, for a server.")] = Service.BOTH,
) -> None:
    """Open Dagster on the same home: the graph, its runs, checks and lineage."""
    open_ui(config, home, host, port, service)


@app.command()
def status(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Each asset: fresh, stale (and because of what) or missing."""
    from wakeword_pipeline.cli.commands.status import show_status

    show_status(config, home, settings or [], as_json=as_json)


@app.command()
def lineage(
    what: Annotated[
        str,
        typer.Argument(
            help="A model file, an artifact (key, its beginning, name or folder) or a recording (path, id)."
        ),
    ],
    home: Home = None,
    recordings: Annotated[
        bool, typer.Option("--recordings", help="List the recordings behind it, a line each.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What something was made from, down to the recordings, and what was made from it."""
    from wakeword_pipeline.cli.commands.lineage import show_lineage

    show_lineage(what, home, recordings=recordings, as_json=as_json)


@app.command()
def verify(
    model: Model,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Whether a model file is unaltered, is this home's, and is what would be built now; status 1 if not."""
    from wakeword_pipeline.cli.commands.verify import verify_model

    verify_model(model, config, home, settings or [], as_json=as_json)


@app.command()
def forget(
    recording: Annotated[
        str | None, typer.Argument(help="A file, there or gone, an id, or 8 digits or more of one.")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="Every recording of this speaker, now and later.")] = None,
    reason: Reason = "",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build everything again without it.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Delete what was made from it, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Never again use a recording or a speaker, and say which artifacts and models were made from it."""
    from wakeword_pipeline.cli.commands.forget import Wanted, run_forget

    wanted = Wanted(recording, speaker, reason, rebuild=rebuild, purge=purge, ask=not yes)
    run_forget(wanted, config, home, settings or [], as_json=as_json)


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, max=1_000, help="The last builds whose artifacts stay.")] = 3,
    really: Annotated[bool, typer.Option("--delete", help="Delete it; otherwise it is only listed.")] = False,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """What neither the last builds, nor candidates and champions, nor a build to come needs; `--delete` deletes it."""
    from wakeword_pipeline.cli.commands.gc import collect_garbage

    collect_garbage(config, home, settings or [], keep, really=really, as_json=as_json)


@app.command()
def models(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Every model of the project: champion, candidate, refused or retired, and why."""
    from wakeword_pipeline.cli.commands.models import show_models

    show_models(config, home, settings or [], as_json=as_json)


@app.command()
def promote(
    key: Annotated[str, typer.Argument(help="The beginning of a model's key, as `wakeword models` has it.")],
    force: Annotated[bool, typer.Option("--force", help="Against the gate; needs --reason.")] = False,
    reason: Reason = "",
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Make a model champion: a candidate, or with --force any model whose files are there."""
    from wakeword_pipeline.cli.commands.models import promote_model

    promote_model(key, reason, config, home, settings or [], force=force)


@app.command()
def rollback(reason: Reason = "", config: ConfigFile = None, home: Home = None, settings: Settings = None) -> None:
    """Make the champion before this one champion again; this one does not come back by itself."""
    from wakeword_pipeline.cli.commands.models import roll_back

    roll_back(reason, config, home, settings or [])


@app.command()
def lr_find(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    low: Annotated[float, typer.Option(min=1e-12, max=1, help="Lowest rate.")] = 1e-6,
    high: Annotated[float, typer.Option(min=1e-12, max=100, help="Highest rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="Batches, each at a higher rate.")] = 200,
    out: Annotated[Path | None, typer.Option(help="File for the picture. \\[default: in the home]")] = None,
    as_json: AsJson = False,
) -> None:
    """Look for a learning rate: train on the built features at rising rates, and see when the loss is lowest."""
    from wakeword_pipeline.cli.commands.lr import find_learning_rate

    find_learning_rate(config, home, settings or [], (low, high, steps), out, as_json=as_json)


@app.command()
def score(
    model: Model,
    audio: Audio,
    out: Annotated[Path, typer.Option(help="File for the arrays `time` (seconds) and `score`.")],
) -> None:
    """Score recordings as a stream."""
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.model import score_files

    count = score_files(WakewordModel(model), audio, out)
    print(f"{count} scores of {len(audio)} recording{'s' if len(audio) > 1 else ''} in {out}")


@app.command()
def detect(
    model: Model,
    audio: Audio,
    sensitivity: Sensitivity = None,
    threshold: Threshold = None,
    as_json: AsJson = False,
) -> None:
    """Find the wake word in recordings."""
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.model import detect_file

    loaded = WakewordModel(model)
    counts = loaded.threshold_at(sensitivity, threshold)
    found: dict[str, Any] = {}
    for path in audio:
        detections = detect_file(loaded, path, counts)
        found[str(path)] = [
            {"time": round(float(one.time), 3), "score": round(float(one.score), 4), "label": one.label}
            for one in detections
        ]
        if not as_json:
            for one in found[str(path)]:
                print(f"{path}\t{one['time']:.2f} s\t{one['score']:.3f}\t{one['label']}")
            if not detections:
                print(f"{path}\tnothing found")
    if as_json:
        print(json.dumps(found))


@app.command()
def listen(
    model: Model,
    device: Annotated[
        str | None, typer.Option(help="Number of a microphone, or part of its name. \\[default: the system's]")
    ] = None,
    sensitivity: Sensitivity = None,
    threshold: Threshold = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long. \\[default: never]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each detection.")] = False,
) -> None:
    """Find the wake word in what the microphone hears."""
    from wakeword_pipeline.cli.commands.listen import listen as listen_to

    listen_to(model, device, sensitivity, threshold, seconds, as_json=as_json)


@app.command()
def serve(
    model: Annotated[
        Path | None,
        typer.Argument(help="An exported .onnx file, or its folder. \\[default: the home's champion]"),
    ] = None,
    judge: Annotated[Path | None, typer.Option(help="A second model that confirms what the first one hears.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. \\[default: serving.host]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="\\[default: serving.port]")] = None,
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Answer over HTTP and WebSockets whether the wake word is in recordings and streams."""
    from wakeword_pipeline.cli.commands.serve import serve_model

    given = {"host": host, "port": port}
    named = [f"serving.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    serve_model(model, judge, config, home, [*(settings or []), *named])


@app.command()
def synth(
    phrase: Annotated[str, typer.Argument(help="What is to be said.")],
    out: Annotated[Path, typer.Option(help="Folder for the recordings.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many, each in another voice.")] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Make recordings from text."""
    from wakeword_core.config import DataConfig
    from wakeword_core.speech.synthesis import synthesize_phrase
    from wakeword_pipeline.cli.logs import Bars

    with Bars() as progress:
        paths = synthesize_phrase(phrase, count, DataConfig().audio.sample_rate, seed, out, progress)
    print(f"{len(paths)} recordings of {phrase!r} in {out}")


def main() -> None:
    """Entry point; exit status 0, 1 for a failed run or check, 2 for bad usage or configuration."""
    # torch's worker threads spin while they wait, by default for milliseconds: beside any other busy process that
    # makes training 7 times slower. Not to spin at all costs a wake-up at every operation: a third slower when idle.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        app()
    except WakewordError as error:
        log.debug("what led to it", exc_info=error)
        print(f"wakeword: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        print("wakeword: stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
