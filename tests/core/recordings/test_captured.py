"""What is said of captures: where it is kept, who may say it at once, and what a build makes of it."""

import csv
import errno
import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kept_captures import WORD, keep_captures
from sound_files import source

from wakeword_core.config import KeepConfig
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file, write_text
from wakeword_core.recordings import opinions
from wakeword_core.recordings.captured import (
    COLUMNS,
    LABELLED,
    SET_ASIDE,
    TABLE,
    Opinion,
    read_reviews,
    save_review,
    sound_of,
    split_of_capture,
)
from wakeword_core.recordings.opinions import ReviewedMeanwhileError
from wakeword_core.runtime.captures import Keeper

YES, NO = Opinion("yes", "anna", WORD, "parent", "CC0-1.0"), Opinion("no", "ben")


def states(folder: Path) -> dict[str, str]:
    return {name: review.state for name, review in read_reviews(folder).items()}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return keep_captures(tmp_path)


def test_yes_and_no_are_rows_of_the_table_and_the_rest_are_set_aside(tmp_path: Path, names: list[str]) -> None:
    yes, no, unsure = names
    save_review(tmp_path, yes, Opinion("yes", "anna", f' {WORD}, "again"', "parent, or aunt", "CC0-1.0 "))
    save_review(tmp_path, no, NO)
    save_review(tmp_path, unsure, Opinion("unsure", "ben"))
    first, second = rows_of(tmp_path)
    assert tuple(first) == COLUMNS
    assert first["path"] == f"{LABELLED}/{yes}.flac" and (tmp_path / first["path"]).is_file()
    assert (first["label"], first["role"], first["licence"]) == (f'{WORD}, "again"', "positive", "CC0-1.0")
    assert (second["label"], second["role"], second["speaker"], second["reviewer"]) == ("", "hard_negative", "", "ben")
    review = read_reviews(tmp_path)[yes]
    assert (review.word, review.speaker, review.reviewer) == (f'{WORD}, "again"', "parent, or aunt", "anna")
    assert states(tmp_path) == {yes: "yes", no: "no", unsure: "unsure"}
    assert sound_of(tmp_path, unsure).parent == tmp_path and (tmp_path / LABELLED / f"{no}.json").is_file()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (TABLE, SET_ASIDE)}
    assert modes == {0o600} and stat.S_IMODE((tmp_path / LABELLED).stat().st_mode) == 0o700


def test_where_the_word_is_is_said_of_words_only_and_to_the_millisecond(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / f"{names[0]}.flac").unlink()
    soundfile.write(tmp_path / f"{names[0]}.flac", np.full(15_999, 0.1), 16_000)  # 0.9999375 s
    opinion = replace(YES, speech_start=0.0, speech_end=0.57)
    assert save_review(tmp_path, names[0], opinion).speech_end == 0.57
    opinion = replace(opinion, speech_end=0.9999)
    assert save_review(tmp_path, names[0], opinion) == read_reviews(tmp_path)[names[0]]
    with pytest.raises(DataError, match="to a later one"):
        save_review(tmp_path, names[0], replace(YES, speech_start=0.5001, speech_end=0.5002))
    (row,) = rows_of(tmp_path)
    assert (row["speech_start"], row["speech_end"]) == ("0", "0.999")
    save_review(tmp_path, names[0], replace(opinion, state="no"))
    (row,) = rows_of(tmp_path)
    assert (row["speech_start"], row["speech_end"], row["label"]) == ("", "", "")


def test_a_table_without_the_columns_of_spans_is_read(tmp_path: Path, names: list[str]) -> None:
    save_review(tmp_path, names[0], YES)
    rows = rows_of(tmp_path)
    lines = [[row[column] for column in COLUMNS[:-2]] for row in rows]
    (tmp_path / TABLE).write_text("\n".join(map(",".join, [COLUMNS[:-2], *lines])) + "\n")
    save_review(tmp_path, names[1], NO)
    assert rows_of(tmp_path)[0] == rows[0]


def test_another_opinion_takes_the_place_of_the_first_wherever_that_was(tmp_path: Path, names: list[str]) -> None:
    name = names[0]
    for opinion in (YES, NO, Opinion("unsure"), YES, Opinion("unsure"), NO):
        save_review(tmp_path, name, opinion)
        assert states(tmp_path) == {name: opinion.state}
        assert sound_of(tmp_path, name).parent == (tmp_path if opinion.state == "unsure" else tmp_path / LABELLED)
        assert sound_of(tmp_path, name).with_suffix(".json").is_file()
    assert [row["role"] for row in rows_of(tmp_path)] == ["hard_negative"]


def test_what_is_deleted_is_gone_and_known_to_be(tmp_path: Path, names: list[str]) -> None:
    save_review(tmp_path, names[0], YES)
    for name in names[:2]:
        save_review(tmp_path, name, Opinion("deleted", "ben"))
        assert sound_of(tmp_path, name) is None and not list(tmp_path.rglob(f"{name}*"))
    assert rows_of(tmp_path) == [] and states(tmp_path) == dict.fromkeys(names[:2], "deleted")
    with pytest.raises(DataError, match="no capture"):
        save_review(tmp_path, names[0], YES)
    assert states(tmp_path)[names[0]] == "deleted"


def test_a_build_takes_exactly_yes_and_no_in_the_splits_that_were_drawn(tmp_path: Path, build) -> None:
    """Though all are by one speaker, who would otherwise be on one side of the splits."""
    folder = tmp_path / "kept"
    names = keep_captures(folder, 12)
    said = (
        Opinion("yes", "anna", "Robin", "parent", "CC0-1.0", 0.25, 0.75),
        Opinion("no", "ben", "", "parent"),
        Opinion("unsure"),
    )
    opinions = {name: said[number % 3] for number, name in enumerate(names)}
    for name, opinion in opinions.items():
        save_review(folder, name, opinion)
    save_review(folder, names[9], Opinion("deleted"))
    rows, summary = build(source(folder / TABLE, name="captured", role="hard_negative", licence="CC-BY-4.0"))
    taken = {name for name, opinion in opinions.items() if opinion.state in ("yes", "no")} - {names[9]}
    assert {Path(path).stem for path in rows.index} == taken and set(rows["status"]) == {"ok"}
    assert set(rows["split"]) == {"train", "test"} and not summary.not_read
    for path, row in rows.iterrows():
        yes = opinions[Path(path).stem].state == "yes"
        assert (row["role"], row["label"]) == (("positive", "robin") if yes else ("hard_negative", "_negative"))
        assert row["licence"] == ("CC0-1.0" if yes else "CC-BY-4.0")
        assert (row["speech_start"], row["speech_end"]) == (0.25, 0.75) or not yes
        assert row["split"] == split_of_capture(row["recording_id"]) == read_reviews(folder)[Path(path).stem].split
        assert row["speaker"] == ("captured/parent (test)" if row["split"] == "test" else "captured/parent")
    assert {review.speaker for review in read_reviews(folder).values()} == {"parent", ""}


def test_about_a_quarter_is_for_the_test_and_the_bytes_alone_decide(tmp_path: Path, names: list[str]) -> None:
    drawn = [split_of_capture(hashlib.sha256(str(number).encode()).hexdigest()) for number in range(4_000)]
    assert 0.23 < drawn.count("test") / len(drawn) < 0.27
    assert split_of_capture("3fffffff" + "f" * 56) == "test" and split_of_capture("40000000" + "0" * 56) == "train"
    split = save_review(tmp_path, names[0], YES).split
    assert split == split_of_capture(hash_file(tmp_path / LABELLED / f"{names[0]}.flac"))
    assert save_review(tmp_path, names[0], NO).split == split


def test_who_did_not_see_what_another_said_does_not_overrule_it(tmp_path: Path, names: list[str]) -> None:
    first = save_review(tmp_path, names[0], YES, seen="")
    with pytest.raises(ReviewedMeanwhileError, match="anna said yes"):
        save_review(tmp_path, names[0], NO, seen="")
    assert states(tmp_path) == {names[0]: "yes"}
    second = save_review(tmp_path, names[0], NO, seen=first.revision)
    with pytest.raises(ReviewedMeanwhileError, match="ben said no"):
        save_review(tmp_path, names[0], YES, seen=first.revision)
    assert second.revision == read_reviews(tmp_path)[names[0]].revision != first.revision


REVIEW_ALL = """
import sys
from pathlib import Path
from wakeword_core.recordings.captured import Opinion, save_review
folder, reviewer, *names = sys.argv[1:]
for name in names:
    save_review(Path(folder), name, Opinion("no", reviewer))
"""


def test_processes_that_review_at_once_lose_no_label(tmp_path: Path) -> None:
    names = keep_captures(tmp_path, 16, seconds=0.1)
    shares = {"anna": names[::2], "ben": names[1::2]}
    started = [
        subprocess.Popen([sys.executable, "-c", REVIEW_ALL, str(tmp_path), who, *own]) for who, own in shares.items()
    ]
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    assert {name: review.reviewer for name, review in read_reviews(tmp_path).items()} == {
        name: who for who, own in shares.items() for name in own
    }
    assert len(rows_of(tmp_path)) == len(names)


def test_what_is_labelled_outlives_what_is_too_old(tmp_path: Path, names: list[str]) -> None:
    save_review(tmp_path, names[0], YES)
    save_review(tmp_path, names[1], Opinion("unsure"))
    Keeper(tmp_path, KeepConfig(max_days=0.001))  # as if a server started long after
    assert [name for name in names if sound_of(tmp_path, name)] == names[:1]
    save_review(tmp_path, names[0], NO)
    assert states(tmp_path) == {names[0]: "no"}  # and what nobody can hear any more is no opinion


@pytest.mark.parametrize("before", [None, YES, Opinion("unsure")], ids=lambda one: one.state if one else "none")
@pytest.mark.parametrize("after", [YES, NO, Opinion("unsure"), Opinion("deleted")], ids=lambda one: one.state)
@pytest.mark.parametrize("step", [0, 1])
def test_a_disk_that_fails_leaves_what_was_said_before_or_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Opinion | None, after: Opinion, step: int
) -> None:
    name, other = keep_captures(tmp_path, 2, seconds=0.1)
    save_review(tmp_path, other, NO)
    save_review(tmp_path, other, Opinion("unsure"))  # so that both tables are there
    if before:
        save_review(tmp_path, name, before)
    written = []

    def failing(path, text, mode):
        if len(written) == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write_text(path, text, mode)

    with monkeypatch.context() as patch:
        patch.setattr(opinions, "write_text", failing)
        with pytest.raises(DataError, match="No space left on device"):
            save_review(tmp_path, name, after)
    assert states(tmp_path)[other] == "unsure" and sound_of(tmp_path, name)
    assert states(tmp_path).get(name) in {before.state if before else None, after.state}
    assert all((tmp_path / row["path"]).is_file() for row in rows_of(tmp_path))
    save_review(tmp_path, name, after)
    assert states(tmp_path)[name] == after.state


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nmine.flac,robin\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,robin,positive\n",
        ",".join(COLUMNS) + "\nmine/a.flac,robin,positive,,,train,anna,now,,\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,,background,,,train,anna,now,,\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,,hard_negative,,,later,anna,now,,\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,robin,positive,,,train,anna,now,soon,later\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,robin,positive,,,train,anna,now,nan,1\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,robin,positive,,,train,anna,now,0.5,inf\n",
        ",".join(COLUMNS) + "\nlabelled/a.flac,robin,positive,,,train,anna,now,0.5,\n",
        ",".join(COLUMNS) + "\nlabelled/../a.flac,robin,positive,,,train,anna,now,,\n",
        ",".join(COLUMNS) + '\n"labelled/a.flac\n',
        ",".join(COLUMNS) + "\n\udcff",
    ],
    ids=[
        "other columns",
        "few fields",
        "another place",
        "another role",
        "another split",
        "no seconds",
        "no number",
        "no end",
        "half a span",
        "a path that leads out",
        "an open quote",
        "not UTF-8",
    ],
)
def test_a_table_that_was_not_written_here_is_told_of_and_not_written_over(
    tmp_path: Path, names: list[str], text: str
) -> None:
    (tmp_path / TABLE).write_text(text, encoding="utf-8", errors="surrogateescape")
    for act in (lambda: read_reviews(tmp_path), lambda: save_review(tmp_path, names[0], YES)):
        with pytest.raises(DataError, match=TABLE):
            act()
    assert (tmp_path / TABLE).read_text(encoding="utf-8", errors="surrogateescape") == text
    assert sound_of(tmp_path, names[0]).parent == tmp_path


@pytest.mark.parametrize(
    "row", ["../../a.flac,unsure", "a.flac,yes", "a.flac,", "a.wav,unsure", ".hidden.flac,deleted"]
)
def test_what_is_set_aside_is_named_where_it_does_not_fit(tmp_path: Path, names: list[str], row: str) -> None:
    text = f"path,state,reviewer,reviewed\n{row},anna,now\n"
    (tmp_path / SET_ASIDE).write_text(text)
    with pytest.raises(DataError, match=rf"{SET_ASIDE} has a row of '.*correct or remove"):
        save_review(tmp_path, names[0], YES)
    assert (tmp_path / SET_ASIDE).read_text() == text and sound_of(tmp_path, names[0]).parent == tmp_path


@pytest.mark.parametrize("table", [TABLE, SET_ASIDE])
def test_a_folder_in_place_of_a_table_is_told_of(tmp_path: Path, names: list[str], table: str) -> None:
    (tmp_path / table).mkdir()
    with pytest.raises(DataError, match=f"{table} is no ordinary file"):
        read_reviews(tmp_path)


def test_what_is_deleted_leaves_nothing_even_where_a_kill_parted_sound_and_facts(
    tmp_path: Path, names: list[str]
) -> None:
    (tmp_path / LABELLED).mkdir()
    (tmp_path / f"{names[0]}.json").rename(tmp_path / LABELLED / f"{names[0]}.json")
    save_review(tmp_path, names[0], Opinion("deleted"))
    assert list(tmp_path.rglob(f"{names[0]}*")) == []


def test_an_end_that_was_rounded_is_that_of_the_sound(tmp_path: Path) -> None:
    (name,) = keep_captures(tmp_path, 1, seconds=1.0067)
    save_review(tmp_path, name, replace(YES, speech_start=0.5, speech_end=1.01))
    assert read_reviews(tmp_path)[name].speech_end == 1.006


def test_a_folder_that_may_not_be_written_to_is_told_of(
    tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *given: False)  # which is never so for root
    with pytest.raises(DataError, match=r"cannot be written \(Permission denied\)"):
        save_review(tmp_path, names[0], YES)


@pytest.mark.parametrize("name", ["../outside", "labelled/x", "/etc/passwd", ".hidden", "", "a\0b", "link", "none"])
def test_only_captures_of_the_folder_have_a_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kept"
    keep_captures(folder, 1)
    for path in (tmp_path / "outside.flac", folder / ".hidden.flac"):
        path.write_bytes(b"fLaC")
    (folder / "link.flac").symlink_to(tmp_path / "outside.flac")
    assert sound_of(folder, name) is None
    with pytest.raises(DataError, match="there is no capture"):
        save_review(folder, name, Opinion("deleted"))
    assert (tmp_path / "outside.flac").is_file() and read_reviews(folder) == {}


@pytest.mark.parametrize(
    ("opinion", "said"),
    [
        (Opinion("yes", word=" "), "needs the word"),
        (Opinion("no", speaker="two\nlines"), "the speaker must be one line"),
        (Opinion("no", licence="x" * 201), "the licence must be one line of at most 200"),
        (Opinion("perhaps"), "none of yes, no"),
        (replace(YES, speech_start=0.5, speech_end=1.01), r"later one of the 1\.0 s"),
        (replace(YES, speech_start=0.5, speech_end=0.5), "to a later one"),
        (replace(YES, speech_end=0.5), "or both left out"),
        (replace(YES, speech_start=-0.1, speech_end=0.5), "from some second"),
        (replace(YES, speech_start=0.1, speech_end=float("nan")), "from some second"),
    ],
)
def test_what_no_table_could_hold_is_refused(tmp_path: Path, names: list[str], opinion: Opinion, said: str) -> None:
    with pytest.raises(DataError, match=said):
        save_review(tmp_path, names[0], opinion)
    assert read_reviews(tmp_path) == {} and np.all([sound_of(tmp_path, name).parent == tmp_path for name in names])
