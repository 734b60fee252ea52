import json
import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wakeword_core import __version__
from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_pipeline.cli import logs

log = logging.getLogger("wakeword_core.something")


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(logs.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_lines_show_elapsed_time_level_and_logger(capsys, clock):
    logs.setup_logging()
    clock.now += 12.34
    log.info("packed %d shards [bold]", 3)
    log.debug("not shown")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "    12.3s INFO    wakeword_core.something: packed 3 shards [bold]\n"


def test_long_lines_are_not_broken(capsys):
    logs.setup_logging()
    log.info("x" * 500)
    assert "x" * 500 in capsys.readouterr().err


def test_second_setup_does_not_double_the_lines(capsys):
    logs.setup_logging()
    logs.setup_logging()
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_handler_of_another_library_on_the_root_does_not_double_the_lines(capsys):
    other = logging.StreamHandler()
    logging.getLogger().addHandler(other)
    try:
        logs.setup_logging()
        log.warning("once")
    finally:
        logging.getLogger().removeHandler(other)
    assert capsys.readouterr().err.count("once") == 1


def test_foreign_handlers_stay(capsys):
    foreign = logging.NullHandler()
    logging.getLogger("wakeword_core").addHandler(foreign)
    logs.setup_logging()
    assert foreign in logging.getLogger("wakeword_core").handlers


@pytest.mark.parametrize(("level", "shown"), [("debug", 2), ("INFO", 1), ("Warning", 0)])
def test_level_from_the_environment(capsys, monkeypatch, level, shown):
    monkeypatch.setenv("WAKEWORD_LOG_LEVEL", level)
    logs.setup_logging()
    log.debug("line")
    log.info("line")
    assert capsys.readouterr().err.count("line") == shown


def test_argument_wins_over_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("WAKEWORD_LOG_LEVEL", "ERROR")
    logs.setup_logging("DEBUG")
    log.debug("line")
    assert "line" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "allowed"), [("LEVEL", "DEBUG, INFO, WARNING, ERROR or CRITICAL"), ("FORMAT", "text or json")]
)
def test_wrong_value_is_a_config_error(monkeypatch, name, allowed):
    monkeypatch.setenv(f"WAKEWORD_LOG_{name}", "loud")
    with pytest.raises(ConfigError, match=f"WAKEWORD_LOG_{name} is 'loud', but must be {allowed}"):
        logs.setup_logging()


def test_json_lines(capsys, monkeypatch, clock):
    monkeypatch.setenv("WAKEWORD_LOG_FORMAT", "json")
    logs.setup_logging()
    clock.now += 1.5
    log.info("first\nline")
    try:
        raise ValueError("bad")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["level"], first["logger"]) == ("first\nline", "INFO", "wakeword_core.something")
    assert first["elapsed"] == 1.5
    assert first["time"].endswith("+00:00")
    assert "ValueError: bad" in second["exception"]


def test_banner_tells_version_device_data_and_config(capsys):
    logs.setup_logging()
    sources = [{"name": f"s{number}", "path": "/x", "role": "noise"} for number in range(8)]
    config = Config.model_validate({"phrase": "alexa", "data": {"sources": sources}, "synthesis": {"enabled": True}})
    logs.banner(config, Path("/home/x/.wakeword"), "cuda: A GPU, 80 GiB")
    text = capsys.readouterr().err
    for expected in (
        f"wakeword {__version__}",
        "torch 2.",
        "cuda: A GPU, 80 GiB",
        "alexa",
        "tcn",
        "20 epochs",
        "/home/x/.wakeword",
    ):
        assert expected in text
    assert "synthetic speech and s0 (noise), " in text
    assert "and 2 more" in text
    assert text.count("\n") < 10


def test_banner_without_data_and_with_the_cpu(capsys):
    logs.setup_logging()
    logs.banner(Config.model_validate({"compute": {"device": "cpu"}}), Path("/h"))
    text = capsys.readouterr().err
    assert re.search(r"cpu: \d+ cores, \d+ GiB", text)
    assert re.search(r"data +none", text)


def test_without_a_terminal_a_line_every_ten_seconds(capsys, clock):
    logs.setup_logging()
    with logs.Bars() as progress:
        for done in range(101):
            progress("features", done, 100)
            clock.now += 0.25
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("features: ")[2] for line in lines] == [
        "40 of 100 (40 %), about 15 s left",
        "80 of 100 (80 %), about 5 s left",
    ]


def test_short_work_writes_no_line(capsys, clock):
    logs.setup_logging()
    with logs.Bars() as progress:
        for done in range(101):
            progress("features", done, 100)
            clock.now += 0.05
    assert capsys.readouterr().err == ""


def test_same_work_again_starts_anew_and_unknown_totals_are_counted(capsys, clock):
    logs.setup_logging()
    with logs.Bars() as progress:
        progress("scan", 9, 10)
        clock.now += 9
        progress("scan", 0, 10)
        clock.now += 9
        progress("scan", 1, 10)
        assert capsys.readouterr().err == ""
        progress("walk", 0, 0)
        clock.now += 11
        progress("walk", 1234, 0)
    assert "walk: 1,234 done" in capsys.readouterr().err


ON_A_TERMINAL = """
import logging, sys, time
from wakeword_pipeline.cli import logs
logs.setup_logging()
log = logging.getLogger("wakeword_core.x")
with logs.Bars(delay=float(sys.argv[1])) as progress:
    for done in range(12):
        progress("quick work", 3, 3)
        progress("slow work", done, 12)
        log.warning("line %d", done)
        time.sleep(0.12)
    print("on standard output")
log.warning("after")
"""


def on_a_terminal(delay, **environment):
    """Run with standard error on a pseudo-terminal and standard output on a pipe; returns (stdout, stderr)."""
    reader, writer = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(delay)],
        stdout=subprocess.PIPE,
        stderr=writer,
        env=settings,
        text=True,
    ) as process:
        os.close(writer)
        written = b""
        while True:
            try:
                chunk = os.read(reader, 65_536)
            except OSError:  # Linux: the other side is closed
                break
            if not chunk:
                break
            written += chunk
        os.close(reader)
        assert process.wait(30) == 0
        return process.stdout.read(), written.decode()


def test_on_a_terminal_bars_and_lines_keep_apart():
    out, screen = on_a_terminal(delay=0.3)
    assert out == "on standard output\n"
    assert "slow work" in screen
    assert "quick work" not in screen
    assert "\x1b[33m" in screen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r", "\n")
    lines = [line for line in plain.split("\n") if "line " in line]
    assert [re.fullmatch(r" +\d+\.\ds WARNING wakeword_core\.x: line \d+", line) is None for line in lines] == [
        False
    ] * 12


def test_work_shorter_than_the_delay_shows_no_bar():
    assert "slow work" not in on_a_terminal(delay=60)[1]


def test_no_colour_where_none_is_wanted():
    assert "\x1b[33m" not in on_a_terminal(delay=60, NO_COLOR="1")[1]


def test_json_on_a_terminal_has_no_bars():
    _, screen = on_a_terminal(delay=0.3, WAKEWORD_LOG_FORMAT="json")
    assert [json.loads(line)["message"] for line in screen.splitlines()][-1] == "after"
