"""Commands that make a model, and show what was made."""

from pathlib import Path
from typing import Annotated

import typer

from wakeword_pipeline.cli.arguments import (
    AsJson,
    ConfigFile,
    Device,
    Home,
    LastConfig,
    Settings,
    file_to_write,
    folder_to_write,
    named_path,
    project_options,
)
from wakeword_pipeline.cli.commands.ui import Address, Service, open_ui
from wakeword_pipeline.orchestration.home import ProjectOptions, config_path, home_path

commands = typer.Typer()
_PANEL = "Make a model"


@commands.command(rich_help_panel=_PANEL)
def demo(
    home: Home = None,
    phrase: Annotated[str, typer.Option(help='The wake word, such as "hello house".')] = "hey robin",
    fast: Annotated[bool, typer.Option(help="Use a smaller data set and a shorter training.")] = False,
    as_json: AsJson = False,
) -> None:
    """Synthesize a data set for a phrase, build a model from it, and print the result."""
    from wakeword_pipeline.cli.commands.run import run_demo

    run_demo(home_path(home), phrase, fast=fast, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
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
    select: Annotated[
        list[str] | None, typer.Option(metavar="ASSET", help="Build only this asset; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the model of a configuration, recorded in Dagster. Only what changed is built again."""
    from wakeword_core.ablations import without
    from wakeword_pipeline.cli.commands.run import run_config

    changed = [*without(left_out or []), *(settings or [])]
    run_config(ProjectOptions(config_path(config), home, changed), select or [], as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def ui(
    config: LastConfig = None,
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


@commands.command(rich_help_panel=_PANEL)
def status(config: LastConfig = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show for each asset whether it is fresh, stale (and why) or missing."""
    from wakeword_pipeline.cli.commands.status import show_status

    show_status(project_options(config, home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def sources(config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show what each source of recordings holds, and what of it is refused and why, before anything is built."""
    from wakeword_pipeline.cli.commands.sources import show_sources

    show_sources(project_options(config_path(config), home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def synth(
    phrase: Annotated[str, typer.Argument(help="The text to speak.")],
    out: Annotated[Path | None, typer.Option(parser=folder_to_write, help="Folder for the recordings.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of recordings, each in another voice.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of voices.")] = 1,
    say: Annotated[bool, typer.Option("--say", help="Play the first one only, and print how it is said.")] = False,
    ipa: Annotated[list[str] | None, typer.Option(help="How to say it (IPA); may be repeated.")] = None,
    config: Annotated[
        Path | None, typer.Option(parser=named_path, help="Configuration file whose settings of synthesis hold.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Synthesize recordings of a text."""
    from wakeword_pipeline.cli.commands.synth import say_phrase, synth_phrase

    if say:
        say_phrase(phrase, out, seed, ipa or (), config, settings or ())
    else:
        synth_phrase(phrase, out, count, seed, ipa or (), config, settings or ())


@commands.command(rich_help_panel=_PANEL)
def record(
    phrase: Annotated[
        str | None, typer.Argument(help="The wake word to say. \\[default: that of the configuration]")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            min=0, max=1_000, help="How often it is said. \\[default: 10, or none with --negatives or --room]"
        ),
    ] = None,
    negatives: Annotated[
        int, typer.Option(min=0, max=1_000, help="Other words and sentences to say, so that the voice tells nothing.")
    ] = 0,
    room: Annotated[
        float, typer.Option(metavar="MINUTES", min=0, max=600, help="Minutes of the room to record, as background.")
    ] = 0.0,
    speaker: Annotated[str | None, typer.Option(help="Who speaks. \\[default: it is asked]")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the recordings, such as CC0-1.0. \\[default: private]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=folder_to_write,
            help="Folder for the recordings. \\[default: recordings beside the configuration]",
        ),
    ] = None,
    device: Device = None,
    page: Annotated[
        bool, typer.Option("--page", help="Record on a web page, which this machine alone can open.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0: any that is free.")] = 8766,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Record somebody who says the wake word, as recordings that the next build learns from."""
    from wakeword_pipeline.cli.commands.record import RecordRequest, record_person

    asked = RecordRequest(phrase, count, negatives, room, speaker, licence, out, device, page, port)
    record_person(asked, config, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
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


@commands.command(rich_help_panel=_PANEL)
def lr_find(
    config: ConfigFile = None,
    home: Home = None,
    settings: Settings = None,
    low: Annotated[float, typer.Option(min=1e-12, max=1, help="Learning rate to begin with.")] = 1e-6,
    high: Annotated[float, typer.Option(min=1e-12, max=100, help="Learning rate to end with.")] = 1.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="Number of batches, each at a higher rate.")] = 200,
    out: Annotated[
        Path | None, typer.Option(parser=file_to_write, help="File for the picture. \\[default: in the home]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Suggest a learning rate: train on the built features at rising rates, and see where the loss is lowest."""
    from wakeword_pipeline.cli.commands.finding import find_learning_rate

    options = project_options(config_path(config), home, settings)
    find_learning_rate(options, (low, high, steps), out, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def batch_find(
    config: ConfigFile = None, home: Home = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Find the largest batch of training that fits in memory: train on the built features with batches that double."""
    from wakeword_pipeline.cli.commands.finding import find_batch_size

    find_batch_size(project_options(config_path(config), home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
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

    run_folds(project_options(config_path(config), home, settings), folds, as_json=as_json)
