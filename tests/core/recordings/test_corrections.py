"""What people said of recordings of sources counts before what the sources say, and can be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest
from sound_files import source

from wakeword_core.config import DataConfig
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.recordings.corrections import (
    COLUMNS,
    CORRECTED,
    forget_corrections,
    make_table,
    read_corrections,
    save_correction,
)
from wakeword_core.recordings.health import LEFT_OUT, NOT_HEARD
from wakeword_core.recordings.opinions import ReviewedMeanwhileError
from wakeword_core.recordings.scan import scan

ID, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def table(tmp_path: Path) -> Path:
    make_table(tmp_path / "corrections.csv")
    return tmp_path / "corrections.csv"


def test_each_answer_means_something_to_the_manifest_and_is_told_there(recordings, table, build) -> None:
    ids = [hash_file(recordings / f"spk{number // 2}" / f"{number}.wav") for number in range(10)]
    plain, before = build(source(recordings, role="positive"))
    save_correction(table, ids[0], "no", reviewer="anna")
    save_correction(table, ids[1], "left_out", reviewer="ben")
    save_correction(table, ids[2], "yes", "Robin", "anna")
    save_correction(table, ids[3], "unsure")
    frame, summary = build(source(recordings, role="positive"), config=DataConfig(corrections=table))
    rows = frame.loc[[f"spk{number // 2}/{number}.wav" for number in range(5)]]
    assert rows["label"].tolist() == ["_negative", "robin", "robin", "robin", "robin"]
    assert rows["role"].tolist() == ["hard_negative", *["positive"] * 4]
    assert rows["status"].tolist() == ["ok", "quarantined", "ok", "ok", "ok"]
    no, out, yes, unsure, untouched = rows["reason"]
    assert no.startswith("anna listened to it on 2") and "no wake word is said, where its source says 'robin'" in no
    assert out.endswith("left out") and "'Robin' is said; no speech was detected" in yes
    assert unsure.startswith("somebody listened") and untouched == NOT_HEARD
    assert summary.reasons == {LEFT_OUT: 1} and summary.notes[CORRECTED] == 1
    assert before.reasons == {} and CORRECTED not in before.notes
    others = plain.index.difference(rows.index)
    assert frame.loc[others].equals(plain.loc[others]) and frame["split"].equals(plain["split"])


def test_a_recording_of_no_word_becomes_a_positive_and_copies_that_disagree_agree(
    tmp_path, recordings, table, build, write_tone
) -> None:
    copy = write_tone(tmp_path / "words" / "copy.wav", seed=0)
    assert hash_file(copy) == hash_file(recordings / "spk0" / "0.wav")
    sources = source(recordings), source(tmp_path / "words", "words", role="positive")
    assert (build(*sources)[0]["status"] == "quarantined").sum() == 2
    save_correction(table, hash_file(copy), "yes", "robin")
    frame, _ = build(*sources, config=DataConfig(corrections=table))
    assert frame.loc[["copy.wav", "spk0/0.wav"], "label"].tolist() == ["robin", "robin"]
    assert sorted(frame.loc[["copy.wav", "spk0/0.wav"], "status"]) == ["ok", "quarantined"]  # one is a duplicate


def test_only_what_is_said_of_recordings_that_are_there_changes_their_fingerprint(recordings, table, cache) -> None:
    def fingerprint() -> str:
        return scan([source(recordings)], cache, corrections=read_corrections(table)).fingerprint

    plain = scan([source(recordings)], cache).fingerprint
    assert fingerprint() == plain
    save_correction(table, OTHER, "left_out")
    assert fingerprint() == plain
    save_correction(table, hash_file(recordings / "spk0" / "0.wav"), "unsure")
    assert fingerprint() != plain
    forget_corrections(table, read_corrections(table))
    assert fingerprint() == plain and read_corrections(table) == {}


def test_a_word_that_is_none_is_an_error_of_the_whole_build(recordings, table, build) -> None:
    save_correction(table, hash_file(recordings / "spk0" / "0.wav"), "yes", "robot", recording="mine/spk0/0.wav")
    with pytest.raises(DataError, match=r"'robot' is said in mine/spk0/0\.wav, and the wake words are robin"):
        build(source(recordings), config=DataConfig(corrections=table))


def test_nobody_overrules_what_they_have_not_seen(table) -> None:
    first = save_correction(table, ID, "no", reviewer="anna", seen="")
    with pytest.raises(ReviewedMeanwhileError, match=r"anna said no of tones/a\.wav meanwhile"):
        save_correction(table, ID, "yes", "robin", "ben", recording="tones/a.wav", seen="")
    save_correction(table, ID, "yes", "robin", "ben", seen=first.revision)
    assert read_corrections(table)[ID].reviewer == "ben"


def test_a_table_that_is_a_link_stays_one(table, tmp_path) -> None:
    (tmp_path / "project").mkdir()
    link = tmp_path / "project" / "corrections.csv"
    link.symlink_to(table)
    make_table(link)
    save_correction(link, ID, "no", reviewer="anna")
    assert link.is_symlink() and read_corrections(table)[ID].state == "no"
    forget_corrections(link, [ID])
    assert link.is_symlink() and read_corrections(table) == {}


def test_a_table_that_a_spreadsheet_saved_is_read_and_written_only_where_a_row_goes(tmp_path) -> None:
    table = tmp_path / "corrections.csv"
    lines = [",".join(COLUMNS), f"{ID},no,,anna,2026-11-29,a.wav", "", ""]
    table.write_bytes(saved := b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_corrections(table)[ID].recording == "a.wav"
    forget_corrections(table, [OTHER])
    assert table.read_bytes() == saved and list(tmp_path.iterdir()) == [table]  # as on a disk that is read-only
    forget_corrections(table, [ID, OTHER])
    assert table.read_text().splitlines() == lines[:1]


def test_several_processes_lose_nothing(table) -> None:
    code = (
        "import sys; from pathlib import Path; from wakeword_core.recordings.corrections import save_correction\n"
        "for number in range(5): save_correction(Path(sys.argv[1]), f'{sys.argv[2]}{number}' * 32, 'no')"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(table), digit]) for digit in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert len(read_corrections(table)) == 10 and not list(table.parent.glob(".*.part"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("x,no,,a,now,", "no SHA-256"),
        (f"{ID},perhaps,,a,now,", "the state 'perhaps'"),
        (f"{ID},yes,,a,now,", "the label ''"),
        (f"{ID},no,robin,a,now,", "the label 'robin'"),
        (f"{ID},no,,a,now,\n{ID},yes,robin,a,now,", "line 3 .* another line has"),
        (f"{ID},no", "line 2 .* has 2 fields"),
    ],
)
def test_a_table_that_is_not_as_written_is_an_error_that_names_the_line(table, row, problem) -> None:
    table.write_text(f"{','.join(COLUMNS)}\n{row}\n")
    with pytest.raises(DataError, match=problem):
        read_corrections(table)
    with pytest.raises(DataError, match=problem):
        save_correction(table, OTHER, "no")
    assert row in table.read_text()


def test_a_table_that_is_named_and_gone_is_an_error_and_none_is_none(tmp_path, recordings, build) -> None:
    gone = tmp_path / "none.csv"
    with pytest.raises(DataError, match=r"none\.csv, which data\.corrections names; `wakeword review --doubtful`"):
        build(source(recordings), config=DataConfig(corrections=gone))
    with pytest.raises(DataError, match="No such file or directory"):
        make_table(tmp_path / "nowhere" / "corrections.csv")
    assert read_corrections(None) == {} and not gone.exists()
    forget_corrections(gone, [ID])
    assert not gone.exists()
