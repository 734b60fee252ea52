"""Tables of recordings as sources: what they state, where their files may lie, and what is wrong with a broken one."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config, DataConfig, SourceConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.recordings.scan import ScanCache, scan
from wakeword_core.recordings.tables import read_table
from wakeword_core.workers.local import LocalWorkers

RATE = 16_000
ENDINGS = (".csv", ".tsv", ".parquet")


def write_table(path, rows, columns=None):
    """Rows (dictionaries) as CSV, TSV or Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = columns or list(rows[0])
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in columns}), path)
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        lines.writerow(columns)
        lines.writerows([row.get(name, "") or "" for name in columns] for row in rows)
    return path


def sound(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, RATE // 2), RATE)


def source(path, name="listed", role="negative", **settings):
    return SourceConfig(name=name, path=path, role=role, **settings)


@pytest.fixture
def build(tmp_path, cache):
    def run(*sources, **settings):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        summary = build_manifest(sources, DataConfig(**settings), "hey robin", 1, cache, out, workers=LocalWorkers(1))
        return read_manifest(out, usable=False), summary

    return run


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_states_what_its_source_does_not(tmp_path, build, ending):
    for index in range(5):
        sound(tmp_path / "set" / "clips" / f"{index}.wav", index)
    rows = [
        {"path": "clips/0.wav", "label": "Hey_Robin", "speaker": "ann", "licence": "CC0-1.0", "split": "test"},
        {"path": "clips/1.wav", "label": "goodbye", "speaker": "bob", "licence": None, "split": None},
        {"path": "./clips/2.wav", "label": None, "speaker": None, "licence": "MIT", "split": None},
        {"path": "clips/3.wav", "label": "hey robin", "speaker": "ann", "licence": None, "split": None},
    ]
    table = write_table(tmp_path / "set" / f"all{ending}", rows)
    frame, summary = build(source(table, licence="CC-BY-4.0", speaker_space="people"))
    frame = frame.set_index("path")
    assert list(frame.index) == [f"clips/{index}.wav" for index in range(4)], "only what the table lists"
    assert frame["label"].tolist() == ["hey robin", "_negative", "_negative", "hey robin"]
    assert frame["role"].tolist() == ["positive", "negative", "negative", "positive"]
    assert frame["licence"].tolist() == ["CC0-1.0", "CC-BY-4.0", "MIT", "CC-BY-4.0"]
    assert frame["speaker"].tolist()[:2] == ["people/ann", "people/bob"]
    assert frame["speaker_known"].tolist() == [True, True, False, True]
    assert frame.loc[["clips/0.wav", "clips/3.wav"], "split"].tolist() == ["test", "test"], "a speaker is on one side"
    assert summary.labels == {"_negative": 2, "hey robin": 2} and summary.missing_sources == []


def test_a_role_of_its_own_and_the_sources_rules_where_nothing_is_stated(tmp_path, build):
    for index in range(4):
        sound(tmp_path / "ann" / f"{index}.wav", index)
    rows = [
        {"path": "ann/0.wav", "role": "noise", "speaker": ""},
        {"path": "ann/1.wav", "role": "", "speaker": "bob"},
        {"path": "ann/2.wav", "role": "hard_negative", "speaker": ""},
        {"path": "ann/3.wav", "role": "positive", "speaker": ""},
    ]
    frame, _ = build(source(write_table(tmp_path / "t.csv", rows), speaker="parent"))
    assert frame["role"].tolist() == ["noise", "negative", "hard_negative", "positive"]
    assert frame["label"].tolist() == ["_negative"] * 3 + ["hey robin"]
    assert frame["speaker"].tolist() == ["listed/ann", "listed/bob", "listed/ann", "listed/ann"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_may_say_where_the_word_is(tmp_path, build, ending):
    for index in range(4):
        sound(tmp_path / f"{index}.wav", index)
    rows = [
        {"path": "0.wav", "role": "positive", "speech_start": "0.1", "speech_end": "0.25"},
        {"path": "1.wav", "role": "positive", "speech_start": "", "speech_end": ""},
        {"path": "2.wav", "role": "negative", "speech_start": "0.1", "speech_end": "0.25"},
        {"path": "3.wav", "role": "hard_negative", "speech_start": "0", "speech_end": "0.6"},
    ]
    frame, _ = build(source(write_table(tmp_path / f"t{ending}", rows)))
    assert frame.loc[0, ["speech_start", "speech_end"]].tolist() == [0.1, 0.25]
    assert frame.loc[1, "speech_end"] == pytest.approx(0.5, abs=0.03), "measured, as ever"
    assert frame.loc[2, ["speech_start", "speech_end"]].isna().all(), "sentences have no word that matters"
    assert frame["status"].tolist() == ["ok", "ok", "ok", "quarantined"]
    assert "0.500 s long, but its table says that the word ends at 0.6 s" in frame.loc[3, "reason"]


@pytest.mark.parametrize(
    ("start", "end"),
    [("x", "1"), ("1", "1"), ("2", "1"), ("-1", "1"), ("0", "inf"), ("0", "nan"), ("", "1"), ("0", "")],
)
def test_a_span_that_is_none_is_an_error_that_says_where(tmp_path, start, end):
    rows = [{"path": "a.wav"}, {"path": "b.wav", "speech_start": start, "speech_end": end}]
    table = write_table(tmp_path / "t.csv", rows, ["path", "speech_start", "speech_end"])
    with pytest.raises(DataError, match=rf"row 2 of the table .*t.csv .* word is from {start} to {end}, but"):
        read_table(source(table))


def test_half_a_span_is_an_error_and_other_columns_that_begin_so_are_not(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"path": "a.wav", "speech_end": "1"}])
    with pytest.raises(DataError, match="has a column speech_end, but speech_start and speech_end go together"):
        read_table(source(table))
    table = write_table(tmp_path / "t.csv", [{"path": "a.wav", "speech": "hello"}])
    assert read_table(source(table)).to_dict("records") == [{"path": "a.wav"}]


def test_american_and_hugging_face_names_of_columns(tmp_path):
    table = write_table(tmp_path / "metadata.csv", [{" File_Name": "a.wav", "License ": "MIT", "transcript": "hello"}])
    assert read_table(source(table)).to_dict("records") == [{"path": "a.wav", "licence": "MIT"}]


def test_numbers_in_a_parquet_table_are_names(tmp_path):
    pq.write_table(pa.table({"path": ["a.wav", "b.wav"], "speaker": [12, None]}), tmp_path / "t.parquet")
    assert read_table(source(tmp_path / "t.parquet"))["speaker"].tolist() == ["12", ""]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"file": "a.wav"}], r"has no column path \(it has file\)"),
        ([{"path": ""}], "row 1 of the table .* has no path"),
        ([{"path": "a.wav", "role": "speech"}], "row 1 .* has the role 'speech', but it must be empty or one of pos"),
        ([{"path": "a", "split": ""}, {"path": "b", "split": "dev"}], "row 2 .* has the split 'dev'.*train, val, test"),
        ([{"path": "a.wav", "speakr": "ann"}], "a column 'speakr'; did you mean 'speaker'"),
        ([{"path": "a.wav", "license": "a", "licence": "b"}], "two columns 'licence'"),
        ([{"path": "a.wav", "licence": "a\nb\x1b[2J"}], "row 1 .* the licence .*must be one line"),
    ],
)
def test_a_broken_table_is_an_error_that_says_where(tmp_path, ending, rows, says):
    table = write_table(tmp_path / f"t{ending}", rows)
    with pytest.raises(DataError, match=says) as caught:
        read_table(source(table))
    assert "'listed'" in str(caught.value) and str(table) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no column path"),
        (b"path;label\na.wav;x\n", "separate columns as its ending says, not by ';'"),
        (b"path\n", "has no rows"),
        (b"path,label\na.wav\n", "line 2 of .* has 1 fields, but its header 2"),
        (b"path,label\na.wav,x,y\n", "line 2 of .* has 3 fields, but its header 2"),
        (b'path,label\n"a.wav,x\n', r"is broken \(unexpected end of data\)"),
        (b"path\n\xff\xfe.wav\n", "is not UTF-8 text"),
    ],
)
def test_a_damaged_text_table_is_an_error(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_table(source(tmp_path / "t.csv"))


@pytest.mark.parametrize("path", [["a.wav"], {"bytes": b"", "path": "a.wav"}])
def test_a_column_of_a_parquet_table_that_is_no_text_is_an_error(tmp_path, path):
    pq.write_table(pa.table({"path": [path]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"the column path of the table .* holds (list|struct).*, but must be text"):
        read_table(source(tmp_path / "t.parquet"))


def test_a_damaged_parquet_table_and_a_missing_one_are_errors(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(source(tmp_path / "t.parquet"))
    with pytest.raises(DataError, match=r"none\.csv of source 'listed' does not exist"):
        read_table(source(tmp_path / "none.csv"))
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="is not a file"):
        read_table(source(tmp_path / "d.csv"))


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbf\r\npath,label\r\n\r\n"a, b.wav",x\r\n')
    assert read_table(source(tmp_path / "t.csv"))["path"].tolist() == ["a, b.wav"]


def test_nothing_outside_the_tables_folder_is_opened(tmp_path, build, monkeypatch):
    sound(tmp_path / "set" / "a.wav", 1)
    sound(tmp_path / "secret.wav", 2)
    sound(tmp_path / "other" / "b.wav", 3)
    (tmp_path / "set" / "link.wav").symlink_to(tmp_path / "secret.wav")
    (tmp_path / "set" / "out").symlink_to(tmp_path / "other")
    (tmp_path / "set" / "in.wav").symlink_to("a.wav")
    os.mkfifo(tmp_path / "set" / "pipe.wav")
    refused = ["../secret.wav", str(tmp_path / "secret.wav"), "link.wav", "out/b.wav", "x/../../secret.wav"]
    broken = ["none.wav", "pipe.wav", "a\0.wav", "."]
    table = write_table(tmp_path / "set" / "t.csv", [{"path": path} for path in ["a.wav", *refused, *broken]])
    opened = []
    real = io.open
    monkeypatch.setattr(io, "open", lambda path, *args, **kwargs: opened.append(path) or real(path, *args, **kwargs))
    frame, summary = build(source(table))
    reasons = frame["reason"].tolist()
    assert all("leads outside its source's folder" in reason for reason in reasons[1:6]), reasons
    assert "No such file" in reasons[6] and "no ordinary file" in reasons[7] and "no file can have" in reasons[8]
    assert summary.reasons == {"unreadable": len(refused) + len(broken)} and summary.usable == 1
    assert {path.name for path in opened if isinstance(path, Path) and path.suffix == ".wav"} == {"a.wav"}


def test_a_file_listed_twice_is_used_once_unless_its_labels_disagree(tmp_path, build):
    sound(tmp_path / "a.wav", 1)
    sound(tmp_path / "b.wav", 2)
    rows = [("a.wav", "no"), ("b.wav", "no"), ("a.wav", "no"), ("b.wav", "hey robin")]
    table = write_table(tmp_path / "t.csv", [{"path": path, "label": label} for path, label in rows])
    frame, summary = build(source(table))
    assert frame["path"].tolist() == [path for path, _ in rows]
    assert summary.reasons == {"conflicting labels": 2, "duplicate": 1} and frame.loc[0, "status"] == "ok"


def test_the_fingerprint_sees_what_a_table_states(tmp_path, cache):
    sound(tmp_path / "a.wav", 1)
    sound(tmp_path / "b.wav", 2)
    seen = set()
    for rows in (
        [("a.wav", "x"), ("b.wav", "y")],
        [("a.wav", "y"), ("b.wav", "x")],
        [("b.wav", "x"), ("a.wav", "y")],
        [("a.wav", "x")],
    ):
        table = write_table(tmp_path / "t.csv", [{"path": path, "label": label} for path, label in rows])
        seen.add(scan([source(table)], cache).fingerprint)
    assert len(seen) == 4
    assert scan([source(write_table(tmp_path / "t.parquet", [{"path": "a.wav", "label": "x"}]))], cache).rows.shape[0]


def test_an_unchanged_table_reads_no_audio(tmp_path, cache, monkeypatch):
    for index in range(3):
        sound(tmp_path / f"{index}.wav", index)
    table = write_table(tmp_path / "t.csv", [{"path": f"{index}.wav"} for index in (2, 0, 1)])
    before = scan([source(table)], cache)
    monkeypatch.setattr("wakeword_core.recordings.scan.hash_file", lambda path: pytest.fail("was read"))
    after = scan([source(table)], ScanCache(tmp_path / "cache"))
    assert after.fingerprint == before.fingerprint and after.rows["path"].tolist() == ["2.wav", "0.wav", "1.wav"]


def test_patterns_choose_rows(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"path": path} for path in ("x/a.wav", "y/b.wav", "x/c.wav")])
    assert read_table(source(table, include=["x/*"], exclude=["**/c*"]))["path"].tolist() == ["x/a.wav"]
    with pytest.raises(DataError, match="has no rows that include and exclude leave"):
        read_table(source(table, include=["z/*"]))


def test_a_table_of_several_words_names_them_in_the_configuration(tmp_path, build):
    for index in range(3):
        sound(tmp_path / f"{index}.wav", index)
    rows = [{"path": f"{index}.wav", "label": label} for index, label in enumerate(("alexa", "computer", "cat"))]
    table = write_table(tmp_path / "t.csv", rows)
    found = source(table, words=["alexa", "computer"])
    config = Config.model_validate({"data": {"sources": [found.model_dump()]}})
    frame, _ = build(found)
    assert config.labels == ("_negative", "alexa", "computer")
    assert frame["label"].tolist() == ["alexa", "computer", "_negative"]


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(names, names), min_size=1, max_size=4))
def test_the_three_kinds_of_table_say_the_same(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"path": f"d/{path}x", "speaker": speaker} for path, speaker in pairs]
    found = [read_table(source(write_table(folder / f"t{ending}", rows))).to_dict("records") for ending in ENDINGS]
    assert found[0] == found[1] == found[2]


COMMON_VOICE = (
    "client_id\tpath\tsentence\tup_votes\n"
    'p1\tc1.wav\t"Hello," he said.\t2\n'
    'p2\tc2.wav\t"Hello said she\t2\n'
    'p2\tc3.wav\tshe said "no"\t2\n'
)


@pytest.mark.parametrize("folder", ["", "clips"])
def test_common_voice_is_read_as_it_comes(tmp_path, build, folder):
    for index in range(1, 4):
        sound(tmp_path / "en" / folder / f"c{index}.wav", index)
    table = tmp_path / "en" / "train.tsv"
    table.write_text(COMMON_VOICE)
    frame, _ = build(source(table))
    assert frame["path"].tolist() == [os.path.join(folder, f"c{index}.wav") for index in range(1, 4)]
    assert frame["speaker"].tolist() == ["listed/p1", "listed/p2", "listed/p2"] and (frame["status"] == "ok").all()


def test_a_column_of_speakers_goes_before_common_voices(tmp_path):
    table = write_table(tmp_path / "t.csv", [{"path": "a.wav", "client_id": "x", "speaker": "ann"}])
    assert read_table(source(table)).to_dict("records") == [{"path": "a.wav", "speaker": "ann"}]


def test_quotes_around_a_field_of_a_tsv_are_none_of_it(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b'"path"\t"label"\r\n"a ""b"".wav"\t"hey robin"\r\nc.wav\t"hey\r\n')
    assert read_table(source(tmp_path / "t.tsv")).to_dict("records") == [
        {"path": 'a "b".wav', "label": "hey robin"},
        {"path": "c.wav", "label": '"hey'},
    ]
    (tmp_path / "t.tsv").write_text('path\tlabel\n"a\tb.wav"\thello\n')
    assert read_table(source(tmp_path / "t.tsv"))["path"].tolist() == ["a\tb.wav"]


def test_paths_of_windows_of_a_home_and_in_full(tmp_path, build, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WAKEWORD_TOKEN", "secret")
    for name in ("clips/1.wav", "clips/2.wav", "clips/3.wav", "clips/4.wav", "odd\\name.wav"):
        sound(tmp_path / "set" / name, len(name) * sum(map(ord, name)))
    names = [
        "clips\\1.wav",
        "~/set/clips/2.wav",
        "$HOME/set/clips/3.wav",
        f"{tmp_path}/set/clips/4.wav",
        "odd\\name.wav",
    ]
    rows = [{"path": name} for name in [*names, "..\\outside.wav", "${WAKEWORD_TOKEN}/a.wav"]]
    frame, _ = build(source(write_table(tmp_path / "set" / "win.csv", rows)))
    assert frame["path"].tolist()[:4] == [f"clips/{number}.wav" for number in range(1, 5)]
    assert frame["status"].tolist() == ["ok"] * 5 + ["quarantined"] * 2
    assert "leads outside" in frame["reason"][5] and frame["path"][6] == "${WAKEWORD_TOKEN}/a.wav"


def test_links_of_a_table_are_followed_where_its_source_allows(tmp_path, build):
    sound(tmp_path / "blobs" / "1.wav", 1)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.wav").symlink_to("../blobs/1.wav")
    table = write_table(tmp_path / "set" / "t.csv", [{"path": "a.wav"}])
    assert build(source(table))[0]["status"].tolist() == ["quarantined"]
    assert build(source(table, link_roots=[tmp_path / "blobs"]))[0]["status"].tolist() == ["ok"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("limit", "most", "says"),
    [("ROWS", 40, "rows|lines"), ("COLUMNS", 2, "3 columns"), ("BYTES", 1_000, "MB")],
)
def test_a_table_that_is_too_large_is_not_read(tmp_path, monkeypatch, ending, limit, most, says):
    """A hundred rows that share one long text: in Parquet a small file."""
    rows = [{"path": "a.wav", "label": "x" * 50, "notes": ""}] * 100
    table = write_table(tmp_path / f"t{ending}", rows)
    assert len(read_table(source(table))) == 100
    monkeypatch.setattr(f"wakeword_core.recordings.tables._MOST_{limit}", most)
    with pytest.raises(DataError, match=rf"the table .* has .*({says}).*split it"):
        read_table(source(table))


def test_a_table_of_very_many_columns_is_refused_at_once(tmp_path):
    (tmp_path / "t.csv").write_text(",".join(["path", *(f"column{index}" for index in range(20_000))]) + "\na.wav\n")
    with pytest.raises(DataError, match="20,001 columns"):
        read_table(source(tmp_path / "t.csv"))
