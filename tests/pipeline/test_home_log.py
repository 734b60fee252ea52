"""The log file of a home: what comes into it, what does not, and how large and old it may become."""

import logging
import os
import time
from logging.handlers import RotatingFileHandler
from multiprocessing import get_context
from pathlib import Path

import pytest

from wakeword_pipeline.home_log import FILE, FOLDER, log_to_home, without_secrets

CORE, PIPELINE = logging.getLogger("wakeword_core.somewhere"), logging.getLogger("wakeword_pipeline.somewhere")

PASSWORD = "pass-word"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    log_to_home(tmp_path)
    return tmp_path / FOLDER / FILE


def test_lines_of_both_packages_are_kept_with_their_times_and_of_nobody_else(file: Path) -> None:
    CORE.info("epoch %d of 3", 1)
    PIPELINE.warning("a name with\na line end and \x1b[31mcolour")
    logging.getLogger("somebody_else").warning("nobody's business")
    CORE.debug("not asked for")
    first, second = file.read_text().splitlines()
    assert first.endswith(f"+00:00 INFO [{os.getpid()}] wakeword_core.somewhere: epoch 1 of 3")
    assert second.endswith(
        rf"WARNING [{os.getpid()}] wakeword_pipeline.somewhere: a name with\na line end and \x1b[31mcolour"
    )
    assert first[:2] == "20" and file.stat().st_mode & 0o777 == 0o600


def test_a_traceback_is_kept_line_by_line(file: Path) -> None:
    try:
        raise ValueError(f"postgresql://me:{PASSWORD}@db/wake is gone")
    except ValueError:
        CORE.exception("it failed")
    text = file.read_text()
    assert "Traceback" in text and "ValueError: postgresql://***@db/wake is gone" in text and PASSWORD not in text


def test_asked_again_nothing_comes_twice_and_another_home_takes_over(file: Path, tmp_path: Path) -> None:
    log_to_home(tmp_path)
    CORE.info("once")
    log_to_home(tmp_path / "other")
    CORE.info("there")
    assert file.read_text().count("\n") == 1
    assert (tmp_path / "other" / FOLDER / FILE).read_text().endswith(": there\n")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"s3://AKIA:{PASSWORD}/more@bucket/a", "s3://***@bucket/a"),
        (f"https://me:{PASSWORD}@example.org/a@b", "https://***@example.org/a@b"),
        ("https://b.org/a?X-Amz-Signature=ab12&part=1", "https://b.org/a?X-Amz-Signature=***&part=1"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("wakeword serve with hunter2-and-more", "wakeword serve with ***"),
        ("mailed to me@example.org, epoch 3", "mailed to me@example.org, epoch 3"),
        ("the basic rule", "the basic rule"),
    ],
)
def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch, said: str, kept: str) -> None:
    monkeypatch.setenv("WAKEWORD_TOKEN", "hunter2-and-more")
    monkeypatch.setenv("SHORT_TOKEN", "rule")
    assert without_secrets(said) == kept


def handler_of_home() -> RotatingFileHandler:
    (handler,) = [one for one in CORE.parent.handlers if isinstance(one, RotatingFileHandler)]
    return handler


def test_a_full_file_is_rotated_and_few_are_kept(tmp_path: Path) -> None:
    log_to_home(tmp_path)
    handler_of_home().maxBytes = 500
    for number in range(100):
        CORE.info("line %d", number)
    files = sorted((tmp_path / FOLDER).glob(f"{FILE}*"))
    assert [path.name for path in files] == [FILE, *(f"{FILE}.{number}" for number in range(1, 5))]
    assert all(path.stat().st_size <= 500 for path in files)
    assert files[0].read_text().endswith("line 99\n")


def _write(folder: Path, who: str, count: int) -> None:
    log_to_home(folder)
    handler_of_home().maxBytes, handler_of_home().backupCount = 2_000, 100
    for number in range(count):
        CORE.info("%s %d", who, number)


def test_processes_that_rotate_at_once_lose_no_line(tmp_path: Path) -> None:
    context = get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, who, 150)) for who in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    files = list((tmp_path / FOLDER).glob(f"{FILE}*"))
    lines = [line.rpartition(": ")[2] for path in files for line in path.read_text().splitlines()]
    assert len(files) > 5 and sorted(lines) == sorted(f"{who} {number}" for who in "abc" for number in range(150))


def test_old_files_go_and_what_is_old_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / FILE).write_text("2020-01-01T00:00:00.000+00:00 INFO [1] wakeword_core: long ago\n")
    for number, days in ((1, 29), (2, 31)):
        (folder / f"{FILE}.{number}").write_text(f"{number}")
        os.utime(folder / f"{FILE}.{number}", (0, time.time() - days * 86_400))
    log_to_home(tmp_path)
    CORE.info("now")
    found = {path.name: path.read_text() for path in folder.glob(f"{FILE}*")}
    assert found[FILE].endswith(": now\n") and found[FILE].count("\n") == 1
    assert found[f"{FILE}.1"].endswith("long ago\n") and found[f"{FILE}.2"] == "1" and len(found) == 3


def test_where_nothing_can_be_written_a_warning_says_so_and_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).symlink_to(tmp_path / "elsewhere")
    for _ in range(3):  # as each step of a build does
        log_to_home(tmp_path)
    CORE.warning("something else")
    assert [one.message.rpartition(", ")[2] for one in caplog.records] == [
        "so log lines are not kept",
        "something else",
    ]
    assert not (tmp_path / "elsewhere").exists()


def test_a_line_that_cannot_be_formed_is_lost_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler_of_home().handle(CORE.makeRecord(CORE.name, logging.INFO, "", 0, "%d epochs", ("three",), None))
    CORE.info("three epochs")
    assert file.read_text().endswith(": three epochs\n") and file.read_text().count("\n") == 1
    assert "%d format" in capsys.readouterr().err


def test_a_disk_that_fills_up_ends_the_file_and_not_the_build(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.open
    monkeypatch.setattr(os, "open", lambda path, *how: usual("/dev/full" if path == str(file) else path, *how))
    file.write_text("")
    file.rename(file.with_suffix(".1"))  # so that it is opened anew
    file.write_text("")
    for number in range(3):  # each step of a build asks for the file anew
        CORE.warning("%d", number)
        log_to_home(file.parents[1])
    assert [one.message for one in caplog.records if "written" in one.message] == [
        f"{file} cannot be written (No space left on device), so log lines are not kept"
    ]
