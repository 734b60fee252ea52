"""`wakeword record`: a person records their own wake word, in the terminal or on a page."""

import json
import sys
import termios
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import yaml
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from wakeword_core.config import Config, SourceConfig, spelling, wake_words
from wakeword_core.config.loading import load_config
from wakeword_core.config.recordings import speakable
from wakeword_core.errors import ConfigError, MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.runtime.microphone import microphone
from wakeword_core.studio.checks import Heard, Hearing
from wakeword_core.studio.folder import RecordingFolder
from wakeword_core.studio.prompts import Prompt
from wakeword_core.studio.sitting import PRIVATE, Moment, Plan, Sitting, record, speaker_name
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import console
from wakeword_pipeline.orchestration.home import config_path

_PROMPTS = 10
_FOLDER, _SOURCE = "recordings", "recordings"
_NO_BREAKS = 10_000
"""Characters of a line of YAML, so that a long path stays in one."""
_PICTURES_A_SECOND = 12
_LEVEL_DB = 60
"""So far below full scale the meter shows nothing."""
_LOUD_DBFS = -1.0
_WIDTH, _METER = 62, 36
_LOCAL_MODES = 3
"""Place of the modes that echo is one of, in what termios tells of a terminal."""
_READY, _RECORDING, _GOOD, _FAULT = "black on yellow", "white on red", "green", "bold red"
_KEYS = "Enter: record   s: skip it   u: take the last one back   q: stop"


@dataclass(frozen=True)
class RecordRequest:
    """What was asked for on the command line."""

    phrase: str | None
    count: int | None
    negatives: int
    room: float
    speaker: str | None
    licence: str | None
    out: Path | None
    device: str | None
    page: bool
    port: int


def record_person(request: RecordRequest, given_config: Path | None, *, as_json: bool) -> None:
    """Record what was asked for, and print how the next build comes to use it; one line of JSON with `as_json`."""
    path = config_path(given_config)
    config = load_config(path if given_config or path.is_file() else None)
    plan = _plan(request, config, path)
    source = source_lines(plan, config, path)
    before = {row["path"] for row in plan.folder.rows()}
    try:
        if request.page:
            _serve(request, plan, source)
        else:
            _sit(request, plan)
    finally:  # also after Ctrl-C: what was kept is there
        added = [row for row in plan.folder.rows() if row["path"] not in before]
        _tell(plan, added, source, as_json=as_json)


def _plan(request: RecordRequest, config: Config, path: Path) -> Plan:
    phrase = request.phrase
    if phrase is None:
        if not path.is_file():
            raise ConfigError(
                f'name the phrase, as in `wakeword record "hey robin"`, or a configuration: {path} is none'
            )
        phrase = config.phrase
    try:
        phrase = speakable(phrase)
    except ValueError as error:
        raise ConfigError(f"the phrase {phrase!r} {error}") from None
    only_other = request.negatives or request.room
    words = (0 if only_other else _PROMPTS) if request.count is None else request.count
    if not (words or only_other):
        raise ConfigError("there is nothing to record: give --count, --negatives or --room more than 0")
    rate = config.data.audio.sample_rate
    return Plan(
        folder=RecordingFolder(request.out or path.parent / _FOLDER),
        phrase=phrase,
        count=words,
        negatives=request.negatives,
        room_minutes=request.room,
        licence=PRIVATE if request.licence is None else request.licence,
        sample_rate=rate,
        hearing=Hearing(config.data.health.vad_threshold, config.features.frontend.window_samples / rate),
    )


def source_lines(plan: Plan, config: Config, path: Path) -> str:
    """Return what the configuration at a path needs so that a build uses the folder; an empty text if it has it."""
    phrase = config.phrase if path.is_file() else plan.phrase
    said = [*(row["label"] for row in plan.folder.rows() if row["label"]), *([plan.phrase] if plan.count else [])]
    words = {spelling(word): word for word in said}
    table = plan.folder.table.resolve()
    own = next((one for one in config.data.sources if one.is_table and one.table.resolve() == table), None)
    if own and words.keys() <= {spelling(word) for word in wake_words([own], phrase)}:
        return ""
    name = own.name if own else _new_name(config.data.sources)
    source: dict[str, object] = {"name": name, "path": _beside(path, table), "role": "positive"}
    if words.keys() - {spelling(phrase)}:
        source["words"] = list(words.values())
    tree: dict[str, object] = {} if path.is_file() else {"phrase": phrase}
    tree["data"] = {"sources": [source]}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=_NO_BREAKS)


def _new_name(sources: Iterable[SourceConfig]) -> str:
    taken = {source.name for source in sources}
    names = chain([_SOURCE], (f"{_SOURCE}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _beside(config: Path, table: Path) -> str:
    """The path of a table as a configuration names it: relative where it lies below the configuration's folder."""
    folder = config.parent.resolve()
    return str(table.relative_to(folder) if table.is_relative_to(folder) else table)


def _serve(request: RecordRequest, plan: Plan, source: str) -> None:
    try:
        from wakeword_core.studio.server import serve_page
    except ImportError as error:
        raise MissingDependencyError(f"--page needs {error.name}: {install_command('serve')}") from error

    def announce(address: str) -> None:
        print(printable(f"record {plan.phrase!r} at {address}; stop with Ctrl-C"), file=sys.stderr, flush=True)

    serve_page(plan, request.speaker or "", source, request.port, announce)


def _sit(request: RecordRequest, plan: Plan) -> None:
    """Let one person record in the terminal."""
    speaker = speaker_name(request.speaker if request.speaker is not None else _asked("Who speaks? "))
    consent = _in_lines(printable(plan.consent_to(speaker)))
    console().print(Panel(consent, title="Consent", title_align="left", width=_WIDTH))
    if _asked("Type yes to agree: ").strip().lower() != "yes":
        raise ConfigError("nothing was recorded, since the consent was not given: it takes the word yes")
    _record_all(plan.begin(speaker), request.device)


def _record_all(sitting: Sitting, device: str | None) -> None:
    """Record prompt after prompt; a person is asked before each, but the minutes of a room follow each other."""
    last: Prompt | None = None
    while prompt := sitting.prompt:
        if last is None or prompt.role != "background" or prompt.role != last.role:
            said, manner = _asks(sitting, prompt)
            place = f"\n{sitting.place + 1} of {len(sitting.prompts)}  "
            console().print(Text.assemble((place, "dim"), (said, "bold"), f"  {manner}"))
            key = _asked(f"{_KEYS} > ").strip().lower()
            if key == "q":
                return
            if key in ("s", "u"):
                sitting.skip() if key == "s" else sitting.take_back()
                continue
        with _keys_ignored():
            heard = _take(sitting, prompt, device)
        last = None if heard.fault else prompt


def _take(sitting: Sitting, prompt: Prompt, device: str | None) -> Heard:
    """Record one prompt, and say what became of it."""
    rate = sitting.plan.sample_rate
    with (
        microphone(rate, device) as blocks,
        Live(console=console(), transient=True, refresh_per_second=_PICTURES_A_SECOND) as live,
    ):
        pcm = record(blocks, rate, prompt, lambda moment: live.update(_panel(sitting, prompt, moment)))
    heard = sitting.offer(pcm)
    if heard.fault:
        console().print(Text(f"✗ {heard.sentence} Once more, please.", _FAULT))
    else:
        length = f"{heard.speech_seconds:.1f} s of speech, " if prompt.text else ""
        console().print(Text(f"✓ Kept: {length}loudest {heard.peak_dbfs:.0f} dBFS.", _GOOD))
    console().bell()
    return heard


def _panel(sitting: Sitting, prompt: Prompt, moment: Moment) -> Panel:
    """What is to be said, the sign to say it, which is seen from afar, and how loud the microphone is."""
    if moment.recording:
        style, words = _RECORDING, "Say it now!" if prompt.text else "The room is recorded."
    else:
        style, words = _READY, "Get ready"
    filled = round(_METER * max(0.0, 1 + moment.level_dbfs / _LEVEL_DB))
    loud = ", too loud" if moment.level_dbfs >= _LOUD_DBFS else ""
    said, manner = _asks(sitting, prompt)
    lines = (
        _in_lines(said, "bold"),
        _in_lines(manner),
        Text(),
        Text(f"{words}  {moment.seconds_left:.1f} s", "bold"),
        Text(f"{'█' * filled}{'░' * (_METER - filled)} {round(moment.level_dbfs)} dBFS{loud}"),
    )
    return Panel(Group(*lines), width=_WIDTH, style=style, padding=(1, 2))


def _in_lines(text: str, style: str = "") -> Text:
    """Text that is broken into lines in a panel, though the console breaks none, which log lines want whole."""
    return Text(text, style, no_wrap=False, overflow="fold")


def _asks(sitting: Sitting, prompt: Prompt) -> tuple[str, str]:
    """What is to be said, and how."""
    manner = prompt.manner or f"Nobody says {sitting.plan.phrase!r} for {prompt.seconds:.0f} s."
    return printable(prompt.text or "The room"), printable(manner)


def _asked(question: str) -> str:
    """Return a line that the person types; ConfigError where there is nobody."""
    try:
        return console().input(Text(question))
    except EOFError:
        console().print()
        raise ConfigError("there is nobody to ask: run it in a terminal, or with --page") from None


@contextmanager
def _keys_ignored() -> Iterator[None]:
    """Neither show nor keep what is typed meanwhile: it would break the picture, and answer the next question."""
    if not sys.stdin.isatty():
        yield
        return
    usual = termios.tcgetattr(sys.stdin)
    silent = [*usual]
    silent[_LOCAL_MODES] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, usual)


def _tell(plan: Plan, added: list[dict[str, str]], source: str, *, as_json: bool) -> None:
    """Print what was added, and what the configuration needs so that the next build uses it."""
    if as_json:
        facts = {"folder": str(plan.folder.folder), "table": str(plan.folder.table), "source": source}
        print(json.dumps({**facts, "recordings": added}))
        return
    if not added:
        return
    roles = ", ".join(f"{count} {role}" for role, count in Counter(row["role"] for row in added).items())
    many = "recordings" if len(added) > 1 else "recording"
    print(printable(f"added {len(added)} {many} ({roles}) to {plan.folder.folder}"))
    if not source:
        print("The configuration names them, so the next build uses them.")
        return
    print("For the next build to use them, the configuration needs this, beside other sources if it has some:\n")
    print(source, end="")
