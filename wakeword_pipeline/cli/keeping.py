"""Commands for what lies behind a model, which one is champion, and what is removed or shared."""

from typing import Annotated

import typer

from wakeword_core.errors import ConfigError
from wakeword_pipeline.cli.arguments import (
    AsJson,
    Home,
    LastConfig,
    Model,
    Reason,
    Settings,
    project_options,
)

commands = typer.Typer()
_PANEL = "Keep an eye on models and data"


@commands.command(rich_help_panel=_PANEL)
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


@commands.command(rich_help_panel=_PANEL)
def verify(
    model: Model, config: LastConfig = None, home: Home = None, settings: Settings = None, as_json: AsJson = False
) -> None:
    """Check that a model file is unaltered, from this home, and what would be built now; exit with 1 if not."""
    from wakeword_pipeline.cli.commands.verify import verify_model

    verify_model(model, project_options(config, home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def models(config: LastConfig = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List every model of the project: champion, candidate, refused or retired, and why."""
    from wakeword_pipeline.cli.commands.models import show_models

    show_models(project_options(config, home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def promote(
    key: Annotated[str, typer.Argument(help="The key of a model, or its beginning, as `wakeword models` shows it.")],
    force: Annotated[bool, typer.Option("--force", help="Overrule the registry's gate; needs --reason.")] = False,
    reason: Reason = "",
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
) -> None:
    """Make a candidate champion, or with --force any model whose files are there."""
    from wakeword_pipeline.cli.commands.models import promote_model

    promote_model(key, reason, project_options(config, home, settings), force=force)


@commands.command(rich_help_panel=_PANEL)
def rollback(reason: Reason = "", config: LastConfig = None, home: Home = None, settings: Settings = None) -> None:
    """Make the previous champion champion again. The present one does not come back by itself."""
    from wakeword_pipeline.cli.commands.models import roll_back

    roll_back(reason, project_options(config, home, settings))


@commands.command(rich_help_panel=_PANEL)
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
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Never use a recording or a speaker again, and list the artifacts and models made from it."""
    from wakeword_pipeline.cli.commands.forget import ForgetRequest, run_forget

    request = ForgetRequest(recording, speaker, reason, rebuild=rebuild, purge=purge, ask=not yes)
    run_forget(request, project_options(config, home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def gc(
    keep: Annotated[int, typer.Option(min=1, max=1_000, help="Number of last builds whose artifacts are kept.")] = 3,
    deletes: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    compacts: Annotated[
        bool, typer.Option("--compact", help="Before that, write shards and features anew without dead rows.")
    ] = False,
    remote: Annotated[bool, typer.Option("--remote", help="Look at the remote instead of the home.")] = False,
    config: LastConfig = None,
    home: Home = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """List artifacts that nothing needs any more; delete them with --delete."""
    from wakeword_pipeline.cli.commands.gc import collect_garbage, collect_remote_garbage

    options = project_options(config, home, settings)
    if remote and compacts:
        raise ConfigError("--compact writes artifacts of the home anew, so it goes without --remote")
    if remote:
        collect_remote_garbage(options, keep, deletes=deletes, as_json=as_json)
    else:
        collect_garbage(options, keep, deletes=deletes, compacts=compacts, as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def push(config: LastConfig = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Upload the artifacts of the present recordings and settings to the remote, for other machines."""
    from wakeword_pipeline.cli.commands.remote import push_artifacts

    push_artifacts(project_options(config, home, settings), as_json=as_json)


@commands.command(rich_help_panel=_PANEL)
def pull(config: LastConfig = None, home: Home = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """Fetch the artifacts of the present recordings and settings from the remote, as far as it has them."""
    from wakeword_pipeline.cli.commands.remote import pull_artifacts

    pull_artifacts(project_options(config, home, settings), as_json=as_json)
