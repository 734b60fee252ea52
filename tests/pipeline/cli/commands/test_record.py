"""A person records in the terminal, and the next build has what was said."""

import contextlib
import io
import json
import os
import pty
import select
import sys
import termios
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from spoken import RATE, take

from wakeword_core.config.loading import load_config
from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.graph.project import Project
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.stage_names import MANIFEST
from wakeword_core.studio.folder import RecordingFolder
from wakeword_core.studio.sitting import Moment
from wakeword_pipeline.cli.commands import record
from wakeword_pipeline.cli.main import main

READY_SECONDS, WALKING_SECONDS = 1.5, 6.0
CONFIG = "phrase: hey robin\npreset: tiny\n"


@pytest.fixture
def person(monkeypatch, tmp_path):
    """The function that runs the command where a person types and says what is given, as (seconds to wait, takes)."""
    monkeypatch.chdir(tmp_path)
    opened = []

    def run(*arguments, typed, said=(), expect=0):
        waiting = iter(said)

        @contextlib.contextmanager
        def microphone(rate, device):
            opened.append((rate, device))
            before, pcm = next(waiting)
            if isinstance(pcm, BaseException):
                raise pcm
            whole = np.concatenate([np.zeros(round(before * rate), np.int16), pcm])
            yield iter(np.array_split(whole, 50))

        monkeypatch.setattr(record, "microphone", microphone)
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in typed)))
        monkeypatch.setattr(sys, "argv", ["wakeword", "record", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert next(waiting, None) is None, "everything was said"
        assert stopped.value.code == expect
        return opened

    return run


def near(*starts, **how):
    return READY_SECONDS, take(*starts, **how)


def far(*starts, **how):
    return WALKING_SECONDS, take(*starts, **how)


def test_what_is_said_is_in_the_manifest_of_the_next_build(person, tmp_path, capsys) -> None:
    (tmp_path / "wakeword.yaml").write_text(CONFIG)
    typed = ["Anna", "yes", "", "", "", ""]
    opened = person("--count", "3", typed=typed, said=[near(1.0), far(), far(0.9), near(1.1)])
    told = capsys.readouterr()
    assert opened == [(RATE, None)] * 4 and "too quiet" in told.err and told.err.count("Kept:") == 3
    consent = RecordingFolder(tmp_path / "recordings").rows()[0]["consent"]
    assert "I am Anna" in consent and set(consent.split()) <= set(told.err.split()), "all of it was shown"
    assert "added 3 recordings (3 positive) to" in told.out
    typed = ["yes", "", "", ""]
    others = [near(1.0, text="the kettle"), near(1.2, seconds=6, text="open the window"), near(seconds=6)]
    options = ("--negatives", "2", "--room", "0.1", "--speaker", "Anna", "--licence", "CC0-1.0")
    person(*options, typed=typed, said=others)
    told = capsys.readouterr()
    assert "added 3 recordings (2 negative, 1 background) to" in told.out

    source = told.out.partition("some:\n\n")[2]
    (tmp_path / "wakeword.yaml").write_text(CONFIG + source)
    project = Project(load_config(tmp_path / "wakeword.yaml"), tmp_path / "home")
    project.build(MANIFEST)
    rows = read_manifest(project.find(MANIFEST).path, usable=False)
    facts = rows[["role", "label", "licence", "status"]].value_counts().to_dict()
    assert facts == {
        ("positive", "hey robin", "private", "ok"): 3,
        ("negative", "_negative", "CC0-1.0", "ok"): 2,
        ("background", "_negative", "CC0-1.0", "ok"): 1,
    }
    assert set(rows.loc[rows["role"] != "background", "speaker"]) == {"recordings/Anna"}
    assert rows["speaker_known"].all() and rows.loc[rows["role"] == "positive", "speech_ratio"].gt(0).all()

    person("--speaker", "Ben", "--count", "1", typed=["yes", "q"])
    assert capsys.readouterr().out == ""


def test_json_tells_what_was_added_and_how_to_use_it(person, tmp_path, capsys) -> None:
    arguments = ("hey robin", "--count", "2", "--speaker", "Anna", "--device", "3", "--out", "rec", "--json")
    opened = person(*arguments, typed=["yes", "", "s"], said=[near(1.0)])
    facts = json.loads(capsys.readouterr().out)
    (row,) = facts["recordings"]
    assert (tmp_path / "rec" / row["path"]).is_file() and opened == [(RATE, "3")]
    (source,) = yaml.safe_load(facts["source"])["data"]["sources"]
    assert source == {"name": "recordings", "path": "rec/recordings.csv", "role": "positive"}
    (tmp_path / "wakeword.yaml").write_text(facts["source"])
    assert load_config(tmp_path / "wakeword.yaml").labels == ("_negative", "hey robin")


def test_one_can_be_taken_back_and_the_rest_left_out(person, tmp_path, capsys) -> None:
    typed = ["yes", "", "u", "", "q"]
    person("hey robin", "--speaker", "Anna", typed=typed, said=[near(1.0), near(1.1)])
    assert "added 1 recording (1 positive) to" in capsys.readouterr().out
    (row,) = RecordingFolder(tmp_path / "recordings").rows()
    assert row["manner"] == "as you usually say it"


@pytest.mark.parametrize("typed", [["no"], [""], ["y"], []])
def test_without_a_yes_nothing_is_recorded(person, tmp_path, capsys, typed) -> None:
    person("hey robin", "--speaker", "Anna", typed=typed, expect=2)
    assert RecordingFolder(tmp_path / "recordings").rows() == []
    told = capsys.readouterr()
    assert told.out == "" and ("nothing was recorded, since" if typed else "nobody to ask") in told.err


def test_the_minutes_of_a_room_need_one_key_and_a_muted_microphone_ends_them(person, tmp_path) -> None:
    muted = READY_SECONDS, np.zeros(60 * RATE, np.int16)
    said = [near(seconds=60.0), near(seconds=60.0), muted, near(seconds=60.0)]
    person("hey robin", "--room", "3", "--speaker", "Anna", typed=["yes", "", ""], said=said)
    assert [row["role"] for row in RecordingFolder(tmp_path / "recordings").rows()] == ["background"] * 3


def test_what_was_kept_is_told_of_when_it_is_interrupted(person, capsys) -> None:
    said = [near(1.0), (0.0, KeyboardInterrupt())]
    person("hey robin", "--speaker", "Anna", typed=["yes", "", ""], said=said, expect=130)
    assert "added 1 recording (1 positive) to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the phrase"),
        (("",), "the phrase '' must contain letters"),
        (("hey robin", "--count", "0"), "nothing to record"),
        (("hey robin", "--speaker", "..."), "must be a name"),
        (("hey robin", "--licence", "CC0\n"), "the licence is 'CC0\\n'"),
        (("hey robin", "--config", "none.yaml"), "no configuration file"),
        (("hey robin", "--out", ""), "it is empty; name a file or a folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_recorded(person, capsys, tmp_path, arguments, said) -> None:
    person(*arguments, typed=["Anna", "yes"], expect=2)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("recording", "level", "words"), [(False, -52.0, "Get ready"), (True, -0.2, "too loud")])
def test_all_of_a_long_sentence_is_shown_with_the_sign_and_the_level(tmp_path, capsys, recording, level, words) -> None:
    text = "The neighbours are painting their fence green, and nobody told me that the party was cancelled."
    sitting = plan(tmp_path).begin("Anna")
    prompt = replace(sitting.prompts[0], text=text)
    record.console().print(record._panel(sitting, prompt, Moment(recording, 1.2, level)))
    shown = capsys.readouterr().err
    assert set(text.split()) <= set(shown.split()) and words in shown and "1.2 s" in shown
    assert ("Say it now!" in shown) == recording and shown.count("█") == round(36 * (1 + level / 60))


def test_keys_while_somebody_speaks_are_neither_shown_nor_kept(monkeypatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal, os.fdopen(ours, "wb", buffering=0) as keyboard:
        monkeypatch.setattr(sys, "stdin", terminal)
        with record._keys_ignored():
            keyboard.write(b"q\n")
            assert select.select([terminal], [], [], 10)[0]  # it has arrived
            assert not termios.tcgetattr(terminal)[record._LOCAL_MODES] & termios.ECHO
        keyboard.write(b"s\n")
        assert terminal.readline() == "s\n"
        assert termios.tcgetattr(terminal)[record._LOCAL_MODES] & termios.ECHO


def plan(tmp_path: Path, phrase: str = "hey robin") -> record.Plan:
    request = record.RecordRequest(phrase, None, 0, 0.0, "Anna", None, tmp_path / "rec", None, False, 0)
    return record._plan(request, load_config(None), tmp_path / "wakeword.yaml")


def lines(tmp_path: Path, text: str, phrase: str = "hey robin") -> str:
    path = tmp_path / "wakeword.yaml"
    path.write_text(text)
    return record.source_lines(plan(tmp_path, phrase), load_config(path), path)


def test_the_lines_fit_the_configuration_that_is_there(tmp_path) -> None:
    taken = "data:\n  sources:\n    - {name: recordings, path: x, role: positive}\n"
    assert "name: recordings-2\n" in lines(tmp_path, CONFIG + taken)
    assert "words" not in lines(tmp_path, CONFIG, "Hey, Robin!")
    other = lines(tmp_path, CONFIG, "hey wren")
    (source,) = yaml.safe_load(other)["data"]["sources"]
    assert source["words"] == ["hey wren"]
    (tmp_path / "wakeword.yaml").write_text(CONFIG + other)
    assert load_config(tmp_path / "wakeword.yaml").labels == ("_negative", "hey wren")
    assert lines(tmp_path, CONFIG + lines(tmp_path, CONFIG)) == ""


def test_a_table_of_two_words_needs_both_of_them(tmp_path) -> None:
    named = CONFIG + lines(tmp_path, CONFIG)
    plan(tmp_path).begin("Anna").offer(take(1.0))
    both = lines(tmp_path, named, "hey wren")
    (source,) = yaml.safe_load(both)["data"]["sources"]
    assert source["name"] == "recordings" and set(source["words"]) == {"hey robin", "hey wren"}
    assert lines(tmp_path, CONFIG + both, "hey wren") == "" == lines(tmp_path, CONFIG + both)
    assert load_config(tmp_path / "wakeword.yaml").labels == ("_negative", "hey robin", "hey wren")


def test_the_page_gets_the_same_plan(person, monkeypatch, capsys) -> None:
    from wakeword_core.studio import server

    given = []
    monkeypatch.setattr(server, "serve_page", lambda *arguments: given.append(arguments))
    person("hey robin", "--page", "--speaker", "Anna", "--port", "0", typed=[])
    ((served, suggested, source, port, announce),) = given
    assert (served.phrase, served.count, suggested, port) == ("hey robin", 10, "Anna", 0)
    assert "recordings/recordings.csv" in source
    announce("http://127.0.0.1:1")
    assert "record 'hey robin' at http://127.0.0.1:1" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wakeword_core.studio.server", None)
    with pytest.raises(MissingDependencyError, match=r"\[serve\]"):
        record._serve(None, served, source)


def test_a_microphone_that_is_not_there_is_said_and_nothing_is_left_open(tmp_path, monkeypatch) -> None:
    def no_microphone(rate, device):
        raise DataError("there is no microphone")

    monkeypatch.setattr(record, "microphone", no_microphone)
    sitting = plan(tmp_path).begin("Anna")
    with pytest.raises(DataError, match="there is no microphone"):
        record._take(sitting, sitting.prompts[0], None)
    assert sitting.place == 0
