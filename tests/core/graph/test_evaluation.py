"""Models beside one another on recordings that somebody gives."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from loud_model import RATE, WORD, loud_and_quiet, save_model

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError, DataError, WakewordError
from wakeword_core.evaluation.report.side_by_side import heard_words
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.graph.evaluation import EVENTS_FILE, WINDOWS_FILE, evaluate, summary
from wakeword_core.graph.given_recordings import GivenRecordings, config_for
from wakeword_core.graph.project import Project
from wakeword_core.listeners.opening import open_listener

SETTINGS = ["evaluation.conditions.tuning.snr_db=[null]", "evaluation.operating_points.sweep_points=20"]
WORDS = 6


@pytest.fixture(scope="module")
def settings() -> Config:
    return load_config(None, SETTINGS)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Words of two people, the last of each faint; other sound with two loud moments, and one that is silent."""
    root = tmp_path_factory.mktemp("given")
    for index in range(WORDS):
        level = 300.0 if index % 3 == 2 else 8_000.0
        person = "ada" if index < WORDS // 2 else "bert"
        save(root / "words" / person / f"{index}.wav", loud_and_quiet(1.5, index, level=level))
    save(root / "other" / "loud.wav", loud_and_quiet(3.0, 20))
    save(root / "other" / "calm.wav", np.random.default_rng(1).normal(0, 15.0, 20 * RATE).astype(np.int16))
    save(root / "other" / "silent.wav", np.zeros(RATE, np.int16))
    return root


def save(path: Path, pcm: np.ndarray) -> None:
    write_audio(path, pcm.astype(np.float32) / 32_768, RATE)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Models by name: one that hears what is loud, and one that hears hardly anything."""
    root = tmp_path_factory.mktemp("models")
    save_model(root / "good")
    save_model(root / "deaf", bias=-20.0)
    save_model(root / "other rate", rate=8_000)
    save_model(root / "two words", labels=("_negative", WORD, "computer"))
    return root


@pytest.fixture(scope="module")
def evaluated(recordings, models, settings, tmp_path_factory):
    """Both models on all recordings: the metrics and the folder of the report."""
    out = tmp_path_factory.mktemp("out")
    given = GivenRecordings([str(recordings / "words")], [str(recordings / "other")], speaker="parent")
    listeners = [open_listener(str(models / name), settings.evaluation.detector, name) for name in ("good", "deaf")]
    home = tmp_path_factory.mktemp("home")
    conditions = [Condition(20.0)]
    return evaluate(listeners, given, settings, home, out, conditions=conditions, tables=True), out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_model_is_measured_as_it_ships_on_the_same_sound(evaluated) -> None:
    metrics, out = evaluated
    good, deaf = metrics["models"]
    assert (metrics["phrase"], metrics["counts"]) == (WORD, {"positive": WORDS, "background": 2})
    assert metrics["conditions"] == ["clean", "20 dB"] and metrics["target_conditions"] == ["clean"]
    assert (good["name"], good["threshold"], good["files"]) == ("good", 0.6, ["model.onnx"])
    assert (good["stream"]["words"], good["stream"]["misses"]) == (WORDS, 2)
    assert good["stream"]["false_alarm_count"] == 2 and deaf["stream"]["false_alarm_count"] == 0
    assert deaf["stream"]["misses"] == WORDS
    hours = 23 / 3_600
    assert good["stream"]["background_hours"] == deaf["stream"]["background_hours"] == pytest.approx(hours)
    assert good["stream"]["fah"] == pytest.approx(2 / hours)
    low, high = good["stream"]["fah_interval"]
    assert low < 2 / hours < high
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))


def test_points_are_read_off_and_the_first_is_held_against_the_other(evaluated) -> None:
    good = evaluated[0]["models"][0]
    assert [point["target_fah"] for point in good["fah_points"]] == [0.1, 0.5, 1.0, 2.0]
    assert all(point["fah"] <= point["target_fah"] for point in good["fah_points"] if point["reachable"])
    (against,) = evaluated[0]["differences"]
    shipped = next(figure for figure in against["figures"] if figure["name"] == "missed as shipped")
    assert against["against"] == "deaf"
    assert (shipped["this"], shipped["other"]) == (pytest.approx(2 / WORDS), 1.0)
    assert (shipped["this_only"], shipped["other_only"]) == (0, WORDS - 2)
    assert shipped["interval"][0] < shipped["difference"] < 0 and shipped["difference"] < shipped["interval"][1]


def test_speakers_and_what_is_left_out_are_told(evaluated) -> None:
    metrics, out = evaluated
    speakers = {group["name"]: group["misses"] for group in metrics["models"][0]["stream"]["by_speaker"]}
    assert speakers == {"words/ada": 1, "words/bert": 1}
    (left_out,) = metrics["left_out"]
    assert left_out["path"] == "silent.wav" and "silent" in left_out["reason"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "words/bert" in page and "other/silent.wav" in page and "Recordings that are left out" in page


def test_the_page_lets_one_hear_the_quietest_words_and_the_loudest_sounds(evaluated) -> None:
    metrics, out = evaluated
    good, deaf = metrics["models"]
    assert [word["tag"] for word in good["quietest"]] == ["missed"] * 2 + [""] * (WORDS - 2)
    assert [event["tag"] for event in good["loudest"]] == ["fires", "fires"]
    scores = [word["score"] for word in good["quietest"]]
    assert scores == sorted(scores)
    assert {word["tag"] for word in deaf["quietest"]} == {"missed"}
    page = (out / "report.html").read_text(encoding="utf-8")
    heard = sum(len(model[kind]) for model in (good, deaf) for kind in ("quietest", "loudest"))
    assert page.count("<audio") == heard and "no sound kept" not in page
    assert "http" not in page.replace("http-equiv", "") and page.count("data:image/png") == heard + 1


def test_tables_tell_of_every_event_and_score(evaluated) -> None:
    _, out = evaluated
    events = [row for row in rows_of(out / EVENTS_FILE) if row["model"] == "good"]
    clean = [row for row in events if row["condition"] == "clean"]
    assert sorted(row["kind"] for row in clean) == ["hit"] * (WORDS - 2) + ["miss"] * 2
    alarms = [row for row in events if row["kind"] == "false alarm"]
    assert {row["path"] for row in alarms} == {"other/loud.wav"}
    assert all(0.75 < float(row["time"]) % 1.5 <= 1.2 for row in alarms)
    assert all(float(row["score"]) >= 0.6 for row in alarms)
    hit = next(row for row in clean if row["kind"] == "hit")
    assert hit["label"] == WORD and hit["speaker"].startswith("words/") and hit["late"]
    windows = [row for row in rows_of(out / WINDOWS_FILE) if row["model"] == "good"]
    calm = [row for row in windows if row["path"] == "other/calm.wav"]
    assert len(calm) == pytest.approx(20 / 0.04, abs=3) and {row["kind"] for row in calm} == {"background"}
    assert float(calm[-1]["time"]) == pytest.approx(20, abs=0.1)
    loud = max(float(row["smoothed"]) for row in windows if row["path"] == "other/loud.wav")
    assert loud >= max(float(row["score"]) for row in alarms)


def test_the_summary_is_short_and_says_the_same(evaluated) -> None:
    metrics, _ = evaluated
    short = json.loads(json.dumps(summary(metrics), allow_nan=False))
    assert [model["name"] for model in short["models"]] == ["good", "deaf"]
    assert short["models"][0]["misses"] == 2 and short["left_out"] == 1
    assert "sweep" not in short["models"][0] and len(short["models"][0]["points"]) == 4


def test_a_table_tells_what_is_said_and_rows_of_other_splits_are_left_out(
    recordings, models, settings, tmp_path
) -> None:
    table = recordings / "table.csv"
    lines = [f"words/{'ada' if i < 3 else 'bert'}/{i}.wav,{WORD.title()},test" for i in range(5)]
    lines += ["words/bert/5.wav,hey robin,train", "other/loud.wav,hey rob,test", "other/calm.wav,,test"]
    table.write_text("\n".join(["path,label,split", *lines]))
    listener = open_listener(str(models / "good"), settings.evaluation.detector)
    given = GivenRecordings([str(table)])
    metrics = evaluate([listener], given, settings, tmp_path / "home", tmp_path / "out", conditions=[Condition(None)])
    assert metrics["counts"] == {"positive": 5, "negative": 2}
    assert metrics["models"][0]["stream"]["false_alarm_count"] == 2 and metrics["differences"] == []
    (left_out,) = metrics["left_out"]
    assert left_out["path"].endswith("5.wav") and "split train" in left_out["reason"]


def test_a_model_that_is_made_for_another_word_is_told_of(recordings, models, settings, tmp_path, caplog) -> None:
    listeners = [
        open_listener(str(models / name), settings.evaluation.detector, name) for name in ("good", "other rate")
    ]
    with pytest.raises(ConfigError):
        evaluate(listeners, GivenRecordings([]), settings, tmp_path, tmp_path, phrase="Hey, Robin!")
    assert caplog.text == ""
    with pytest.raises(ConfigError):
        evaluate(listeners, GivenRecordings([]), settings, tmp_path, tmp_path, phrase="hey jude")
    assert "good is made for 'hey robin', and the test is of hey jude" in caplog.text


def test_a_rule_tells_several_words_apart(recordings, models, settings, tmp_path) -> None:
    for folder, index in ((WORD, 0), ("computer", 1), ("computer", 2), ("street", 3)):
        save(tmp_path / "said" / folder / f"{index}.wav", loud_and_quiet(1.5, 30 + index))
    listener = open_listener(str(models / "two words"), settings.evaluation.detector)
    save(tmp_path / "talk" / "0.wav", loud_and_quiet(1.5, 40))
    given = GivenRecordings(
        [str(tmp_path / "said")], [str(recordings / "other")], [str(tmp_path / "talk")], labels="parent"
    )
    out = tmp_path / "out"
    conditions = [Condition(None, way="telephone"), Condition(5.0, under="speech")]
    metrics = evaluate([listener], given, settings, tmp_path / "home", out, conditions=conditions)
    assert metrics["counts"] == {"positive": 3, "negative": 2, "background": 2}
    assert [one["name"] for one in metrics["models"][0]["stream"]["conditions"]] == [
        "clean", "telephone", "speech 5 dB",
    ]  # fmt: skip
    said = {word["name"]: word["words"] for word in metrics["models"][0]["by_word"]}
    assert said == {WORD: 1, "computer": 2}


def test_folders_of_one_name_are_told_apart(settings) -> None:
    given = GivenRecordings(["x/a", "y/a", "z/a-2"], ["b/a", "c/a.b"])
    names = [source.name for source in config_for(given, [WORD], settings, {}).data.sources]
    assert names == ["a", "a-2", "a-2-2", "a-3", "a-4"]


@pytest.mark.parametrize(
    ("words", "background", "named", "error", "said"),
    [
        ("words", (), ["good"], DataError, "of anything else.*name some with --background"),
        ("words", ("nowhere",), ["good"], DataError, "nowhere does not exist; correct it"),
        ("no", ("other", "nowhere"), ["good"], DataError, "/no and .*/nowhere do not exist; correct them"),
        ("words/ada/0.wav", ("other",), ["good"], DataError, "0.wav is neither a folder nor a table.*name the folder"),
        ("words", ("other",), ["good", "other rate"], ConfigError, "good at 16,000 Hz and other rate at 8,000 Hz"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    recordings, models, settings, tmp_path, monkeypatch, words, background, named, error, said
) -> None:
    listeners = [open_listener(str(models / name), settings.evaluation.detector, name) for name in named]
    given = GivenRecordings([str(recordings / words)], [str(recordings / one) for one in background])
    monkeypatch.setattr(Project, "listing", None)  # nothing is read before
    with pytest.raises(error, match=said) as caught:
        evaluate(listeners, given, settings, tmp_path / "home", tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_minutes_bound_what_is_heard_and_the_page_says_how_much_of_which_word(
    recordings, models, settings, tmp_path, caplog
) -> None:
    for index in range(8):
        save(tmp_path / "many" / f"{index}.wav", loud_and_quiet(6.0, 50 + index))
    listener = open_listener(str(models / "good"), settings.evaluation.detector)
    given = GivenRecordings([str(tmp_path / "many")], [str(recordings / "other")])
    out = tmp_path / "out"
    out.mkdir()
    (out / EVENTS_FILE).write_text("of an earlier evaluation")
    metrics = evaluate(
        [listener], given, settings, tmp_path / "home", out,
        phrase="hey jude", conditions=[Condition(None)], minutes=0.5,
    )  # fmt: skip
    assert metrics["counts"]["positive"] == 8 and 0 < heard_words(metrics) < 8
    assert metrics["models"][0]["stream"]["words"] * 6 <= 30
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"There are {heard_words(metrics)} recordings of the word" in page
    assert "good is made for &#39;hey robin&#39;, and the test is of hey jude." in page
    assert f"{out / EVENTS_FILE} stays as it is" in caplog.text


def test_what_cannot_be_written_or_has_no_speech_is_told_before_anything_is_heard(
    recordings, models, settings, tmp_path, monkeypatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(Project, "listing", None)  # nor is anything read
    listener = open_listener(str(models / "good"), settings.evaluation.detector)
    listener.score = None  # whoever hears it fails
    given = GivenRecordings([str(recordings / "words")], [str(recordings / "other")])
    with pytest.raises(WakewordError, match=r"file cannot be written .*name another --out"):
        evaluate([listener], given, settings, tmp_path / "home", tmp_path / "file")
    with pytest.raises(DataError, match="with --speech"):
        evaluate(
            [listener], given, settings, tmp_path / "home", tmp_path / "out",
            conditions=[Condition(5.0, under="speech")],
        )  # fmt: skip


def test_recordings_that_are_all_left_out_are_told_of_with_the_reason(models, settings, recordings, tmp_path) -> None:
    save(tmp_path / "words" / "silent.wav", np.zeros(RATE, np.int16))
    listener = open_listener(str(models / "good"), settings.evaluation.detector)
    given = GivenRecordings([str(tmp_path / "words")], [str(recordings / "other")])
    with pytest.raises(DataError, match="none of its 1 recordings can be used \\(1 silent\\)"):
        evaluate([listener], given, settings, tmp_path / "home", tmp_path / "out")
