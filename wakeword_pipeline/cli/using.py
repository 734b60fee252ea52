"""Commands that run a model, or hand it on."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from wakeword_core.text import printable
from wakeword_pipeline.cli.arguments import (
    Alone,
    AsJson,
    Audio,
    AudioOrFolders,
    Device,
    Home,
    Keep,
    LastConfig,
    Model,
    Sensitivity,
    Settings,
    Threshold,
    file_to_write,
    folder_to_write,
    named,
    named_path,
    project_options,
)
from wakeword_pipeline.orchestration.home import ProjectOptions

commands = typer.Typer()
_PANEL = "Use a model"


@commands.command(rich_help_panel=_PANEL)
def detect(
    model: Model,
    audio: AudioOrFolders,
    sensitivity: Sensitivity = None,
    threshold: Threshold = None,
    alone: Alone = False,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", parser=file_to_write, help="Write the detections to a table, too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the wake word in recordings. One that cannot be read is told of, and the others are looked through."""
    from wakeword_pipeline.cli.commands.detect import detect as detect_in

    detect_in(model, audio, sensitivity, threshold, alone=alone, as_json=as_json, table=table)


@commands.command(rich_help_panel=_PANEL)
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            parser=named,
            help="An exported file in any format, the folder of a bundle, a .tflite of a microcontroller with its "
            "manifest or of openWakeWord, or an engine's own: microWakeWord:alexa, openWakeWord:alexa.",
        ),
    ],
    source: Annotated[
        list[str],
        typer.Option(parser=named, help="Recordings of the word: a folder, a table or a URL; may be repeated."),
    ],
    background: Annotated[
        list[str] | None,
        typer.Option(
            parser=named, help="Other sound, in which false alarms are counted: likewise, and may be repeated."
        ),
    ] = None,
    speech: Annotated[
        list[str] | None,
        typer.Option(parser=named, help="Recordings of people who say other things: likewise, and may be repeated."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", parser=named, help="Another model to hear the same; may be repeated."),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="How the words sound besides as they were recorded, such as '5 dB' or telephone; may be repeated. "
            "\\[default: 10 dB]",
        ),
    ] = None,
    phrase: Annotated[str, typer.Option(help="The wake word. \\[default: the model's own]")] = "",
    labels: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="How a path of --source tells what is said, as `labels` of a source does."),
    ] = None,
    speaker: Annotated[
        str,
        typer.Option(metavar="RULE", help="How a path of --source tells who speaks, as `speaker` of a source does."),
    ] = "unknown",
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", parser=folder_to_write, help="Folder for report.html and metrics.json.")
    ] = Path("evaluation"),
    tables: Annotated[
        bool, typer.Option("--csv", help="Write events.csv and windows.csv there, too: what happened, and all scores.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0.5, help="So much of each kind of sound at most, for a quick look.")
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            help="Folder that keeps what is read of the recordings for the next time. \\[default: none]",
        ),
    ] = None,
    alone: Alone = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on recordings, beside others if you like: misses, false alarms an hour, and a report to hear."""
    from wakeword_core.graph.given_recordings import GivenRecordings
    from wakeword_pipeline.cli.commands.evaluate import EvaluateRequest, evaluate_models

    request = EvaluateRequest(
        models=[model, *(against or ())],
        recordings=GivenRecordings(source, background or (), speech or (), labels, speaker),
        conditions=condition or (),
        phrase=phrase,
        minutes=minutes,
        out=out,
        home=home,
        settings=settings or (),
        alone=alone,
        tables=tables,
    )
    evaluate_models(request, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def listen(
    model: Model,
    device: Device = None,
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


@commands.command(rich_help_panel=_PANEL)
def score(
    model: Model,
    audio: Audio,
    out: Annotated[
        Path, typer.Option(parser=file_to_write, help="File (.npz) for the arrays `time` (seconds) and `score`.")
    ],
    alone: Alone = False,
) -> None:
    """Write the score of every window of recordings to a file."""
    from wakeword_core.runtime.live import open_model
    from wakeword_core.runtime.model import score_files

    count = score_files(open_model(model, alone=alone), audio, out)
    print(printable(f"{count} scores of {len(audio)} recording{'s' if len(audio) > 1 else ''} in {out}"))


@commands.command(rich_help_panel=_PANEL)
def serve(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL...",
            parser=named_path,
            help="Exported .onnx files, or their folders; several need --wyoming. \\[default: the home's champion]",
        ),
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(parser=named_path, help="A second model that confirms what the first one detects.")
    ] = None,
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
    follow_champion: Annotated[
        bool, typer.Option("--follow-champion", help="Serve each new champion of the home as soon as it is champion.")
    ] = False,
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Serve a model over HTTP and WebSockets, with a page that listens in the browser, and to Home Assistant."""
    from wakeword_pipeline.cli.commands.serve import serve_model

    given = {"host": host, "port": port, "wyoming": wyoming, "sensitivity": sensitivity}
    given |= {"follow_champion": follow_champion or None, "http": False if without_http else None}
    given |= {"keep.folder": None if keep is None else str(keep)}
    named = [f"serving.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    serve_model(models or (), judge, ProjectOptions(config, home, [*(settings or []), *named]))


@commands.command(rich_help_panel=_PANEL)
def captures(
    folder: Annotated[Path, typer.Argument(parser=named_path, help="What was given to --keep.")],
    delete: Annotated[bool, typer.Option("--delete", help="Delete them all.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what `serve --keep` or `listen --keep` has kept in a folder, or delete it."""
    from wakeword_pipeline.cli.commands.captures import delete_captures, list_captures

    delete_captures(folder) if delete else list_captures(folder, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def review(
    folder: Annotated[Path | None, typer.Argument(parser=named_path, help="What was given to --keep.")] = None,
    doubtful: Annotated[
        bool,
        typer.Option(
            "--doubtful", help="Review the project's recordings that its report doubts; writes data.corrections."
        ),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            parser=named_path,
            help="An exported .onnx file, or its folder, whose scores are drawn. \\[default: with --doubtful the "
            "report's]",
        ),
    ] = None,
    speaker: Annotated[str, typer.Option(help="Who speaks in what holds the word, unless the page says another.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of what is labelled, unless the page says another.")] = "",
    reviewer: Annotated[
        str | None, typer.Option(help="Who reviews, unless the page says another. \\[default: the user's name]")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine's need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8766,
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Listen in the browser to what was kept, or to recordings that a report doubts, and label them."""
    from wakeword_pipeline.cli.commands.review import ReviewRequest
    from wakeword_pipeline.cli.commands.review import review as review_sounds

    request = ReviewRequest(folder, doubtful, model, speaker, licence, reviewer, host, port)
    review_sounds(request, project_options(config, home, settings))


@commands.command(rich_help_panel=_PANEL)
def export(
    target: Annotated[
        Literal["esphome", "openwakeword", "onnx", "torch"], typer.Option("--to", help="What will run the model.")
    ],
    out: Annotated[Path, typer.Option(parser=folder_to_write, help="Folder for the files.")],
    model: Annotated[
        Path | None,
        typer.Argument(
            parser=named_path,
            help="An exported .onnx file, or the folder that holds model.onnx. \\[default: the home's champion]",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder with other files, over those of the same names.")
    ] = False,
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Put the files that a device or program takes into a folder, or say which setting builds them."""
    from wakeword_pipeline.cli.commands.export import export_model

    export_model(model, target, out, project_options(config, home, settings), force=force, as_json=as_json)
