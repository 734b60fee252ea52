"""The folder of recordings: what is added stays, appears whole, and is read by its owner alone."""

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import soundfile
from spoken import RATE, take

from wakeword_core.config import SourceConfig
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.recordings.tables import read_table
from wakeword_core.studio import folder as module
from wakeword_core.studio.folder import COLUMNS, Consent, RecordingFolder
from wakeword_core.studio.prompts import other_prompts, room_prompts, wake_word_prompts

WHEN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ANNA = Consent("Anna Ö", "CC0-1.0", 'I, "Anna", agree,\nand so on.', WHEN)
WORD = wake_word_prompts("hey robin", 1)[0]


def files(folder):
    return sorted(path.relative_to(folder.folder).as_posix() for path in folder.folder.rglob("*.flac"))


def test_a_recording_is_a_file_and_a_row_that_say_the_same(folder) -> None:
    pcm = take(1.0)
    name = folder.add(pcm, RATE, WORD, ANNA)
    sound, rate = soundfile.read(folder.folder / name, dtype="int16")
    assert rate == RATE and (sound == pcm).all() and files(folder) == [name]
    (row,) = folder.rows()
    recorded = datetime.fromisoformat(row.pop("recorded"))
    assert abs((datetime.now(UTC) - recorded).total_seconds()) < 60
    assert row == {
        "path": name,
        "label": "hey robin",
        "role": "positive",
        "speaker": "Anna Ö",
        "licence": "CC0-1.0",
        "text": "hey robin",
        "manner": WORD.manner,
        "consent": ANNA.text,
        "consented": "2026-01-31T12:00:00+00:00",
    }


def test_the_table_is_a_source_as_it_is(folder) -> None:
    other, minute = other_prompts("hey robin", 1, 0)[0], room_prompts(1, WHEN)[0]
    for prompt in (WORD, other, minute):
        folder.add(take(1.0), RATE, prompt, ANNA)
    rows = read_table(SourceConfig(name="mine", path=folder.table, role="positive"))
    assert rows["path"].tolist() == [row["path"] for row in folder.rows()]
    assert rows["role"].tolist() == ["positive", "negative", "background"]
    assert rows["label"].tolist() == ["hey robin", "", ""]
    assert rows["speaker"].tolist() == ["Anna Ö", "Anna Ö", minute.group]


def test_only_the_owner_can_read_what_is_said(folder) -> None:
    name = folder.add(take(1.0), RATE, WORD, ANNA)
    modes = {path: path.stat().st_mode & 0o777 for path in (folder.folder, (folder.folder / name).parent)}
    assert set(modes.values()) == {0o700}
    assert {path.stat().st_mode & 0o777 for path in (folder.table, folder.folder / name)} == {0o600}


def test_another_run_adds_and_columns_of_somebody_else_stay(folder) -> None:
    folder.add(take(1.0), RATE, WORD, ANNA)
    text = folder.table.read_text()
    lines = list(csv.reader(text.splitlines(keepends=True)))
    with folder.table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows([[*lines[0], "split"], [*lines[1], "test"]])
    again = RecordingFolder(folder.folder)
    again.add(take(1.0), RATE, WORD, ANNA)
    assert [row["split"] for row in again.rows()] == ["test", ""] and len(files(folder)) == 2
    assert again.rows()[0]["consent"] == ANNA.text


def test_a_table_whose_last_line_does_not_end_is_gone_on_with(folder) -> None:
    folder.add(take(1.0), RATE, WORD, ANNA)
    folder.table.write_text(folder.table.read_text().rstrip("\n"))
    folder.add(take(1.0), RATE, WORD, ANNA)
    assert len(folder.rows()) == 2


def test_nothing_is_overwritten_even_where_the_clock_stands_still(folder, monkeypatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, zone=None):
            return WHEN

    monkeypatch.setattr(module, "datetime", Stopped)
    names = [folder.add(take(1.0), RATE, WORD, ANNA) for _ in range(3)]
    assert len(set(names)) == 3 == len(files(folder))


def test_several_may_add_at_once(folder) -> None:
    pcm = take(1.0)

    def add(_):
        return RecordingFolder(folder.folder).add(pcm, RATE, WORD, ANNA)

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(add, range(12)))
    assert sorted(row["path"] for row in folder.rows()) == sorted(names) == files(folder)


def test_a_kill_while_the_table_is_written_loses_that_recording_alone(folder, monkeypatch) -> None:
    first = folder.add(take(1.0), RATE, WORD, ANNA)
    before = folder.table.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_text", killed)
        folder.add(take(1.0), RATE, WORD, ANNA)
    assert folder.table.read_bytes() == before
    folder.add(take(1.0), RATE, WORD, ANNA)
    assert folder.rows()[0]["path"] == first and len(folder.rows()) == 2


ADD_FOR_EVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from wakeword_core.studio.folder import Consent, RecordingFolder
from wakeword_core.studio.prompts import wake_word_prompts
folder, prompt = RecordingFolder(Path(sys.argv[1])), wake_word_prompts("hey robin", 1)[0]
while True:
    folder.add(np.arange(16_000, dtype=np.int16), 16_000, prompt, Consent("Anna", "private", "", datetime.now(UTC)))
    print(flush=True)
"""


def test_after_a_kill_all_that_the_table_names_is_whole(folder) -> None:
    command = [sys.executable, "-c", ADD_FOR_EVER, str(folder.folder)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE) as process:
        added = [process.stdout.readline() for _ in range(5)]
        process.kill()
    rows = RecordingFolder(folder.folder).rows()
    assert len(added) <= len(rows) and len(files(folder)) - len(rows) in (0, 1)
    assert all(len(soundfile.read(folder.folder / row["path"])[0]) == 16_000 for row in rows)


def test_what_a_kill_left_half_written_is_removed(folder) -> None:
    name = folder.add(take(1.0), RATE, WORD, ANNA)
    for path in (folder.table, folder.folder / name):
        path.with_name(f".{path.name}.0123456789ab.part").write_text("half")
    RecordingFolder(folder.folder)
    assert list(folder.folder.rglob("*.part")) == [] and files(folder) == [name]


def test_a_recording_that_is_removed_is_gone_and_the_others_stay(folder) -> None:
    first, second = (folder.add(take(1.0), RATE, WORD, ANNA) for _ in range(2))
    folder.remove(first)
    assert [row["path"] for row in folder.rows()] == [second] == files(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,label\na.wav,robin\n", "has no column role"),
        (b"", "has no column path"),
        (b"\xff\xfe", "cannot be read"),
        (",".join(COLUMNS).encode() + b'\n"anna/a.flac,robin\n', "unexpected end of data"),
        (",".join(COLUMNS).encode() + b"\n" + b"x" * 200_000 + b"\n", "larger than field limit"),
        (",".join(COLUMNS).replace(",", ";").encode(), "has no column path"),
    ],
)
def test_a_table_of_something_else_is_left_alone(folder, content, said) -> None:
    folder.table.write_bytes(content)
    with pytest.raises(DataError, match=said):
        RecordingFolder(folder.folder)
    assert folder.table.read_bytes() == content


def test_a_row_with_too_many_fields_is_named(folder) -> None:
    folder.table.write_text(",".join(COLUMNS) + "\n" + "x," * len(COLUMNS) + "x\n")
    with pytest.raises(DataError, match="more fields than its header"):
        folder.rows()


def test_a_folder_of_a_speaker_that_leads_elsewhere_is_not_followed(folder, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder.folder / "ben").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WakewordError, match="leads outside"):
        folder.add(take(1.0), RATE, WORD, Consent("Ben", "", "", WHEN))
    assert list((tmp_path / "elsewhere").iterdir()) == [] and folder.rows() == []


@pytest.mark.parametrize("speaker", ["../../Anna", "a/b", "李", "A\\B", "-rf", "CON."])
def test_a_name_is_no_path(folder, speaker) -> None:
    name = folder.add(take(1.0), RATE, WORD, Consent(speaker, "", "", WHEN))
    assert name.count("/") == 1 and not name.startswith((".", "-")) and files(folder) == [name]
    assert folder.rows()[0]["speaker"] == speaker


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_nobody_may_write_to_is_said_before_anything_is_recorded(tmp_path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"nothing can be kept in .*closed \(Permission denied\)"):
        RecordingFolder(tmp_path / "closed")


def test_a_file_is_no_folder(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="name another with --out"):
        RecordingFolder(tmp_path / "file")
