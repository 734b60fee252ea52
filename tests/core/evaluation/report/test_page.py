"""The report: self-contained, safe with any text, honest about what it cannot show."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from made_report import CASCADE, COMPARISON, EXHIBITS, METRICS, NASTY, NO_PHRASES, PICTURES, PNG, REAL, SOUND, STREAM

from wakeword_core.evaluation.measure.computing import ChunkTime, Computing
from wakeword_core.evaluation.measure.intervals import Interval
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.evaluation.measure.wording import evidence, reservations
from wakeword_core.evaluation.report.devices import device_figures, device_summary
from wakeword_core.evaluation.report.page import Exhibits, write_report
from wakeword_core.evaluation.streams.stream_metrics import WordRate


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.found, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data):
        self.text += data


def parsed(folder):
    parser = Tags()
    parser.feed((folder / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " "))
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, METRICS, EXHIBITS)
    return folder


@pytest.fixture(scope="module")
def page(written):
    return parsed(written)


def test_metrics_are_all_in_the_json_and_nothing_else(written):
    assert json.loads((written / "metrics.json").read_text()) == json.loads(json.dumps(METRICS))


def test_the_page_is_self_contained_and_escaped(written, page):
    names = [name for name, _ in page.found]
    assert not {"script", "link", "iframe", "object", "video", "source"} & set(names)
    sources = [given["src"] for _, given in page.found if "src" in given]
    assert all(one.startswith(("data:image/png;base64,", "data:audio/flac;base64,")) for one in sources)
    ids = {given["id"] for _, given in page.found if "id" in given}
    links = [given["href"] for name, given in page.found if name == "a"]
    assert links and all(one[0] == "#" and one[1:] in ids for one in links)
    text = (written / "report.html").read_text()
    assert "http" not in re.sub(r"base64,[^\"]*", "", text) and "url(" not in text
    assert page.text.count(NASTY) >= 3
    assert any(name == "meta" and given.get("name") == "viewport" for name, given in page.found)


def test_captures_are_listed_with_those_that_are_wrong_first(tmp_path):
    cases = [("heard", "hey robin", False), ("television", "_negative", True), ("kettle", "_negative", False)]
    captured = [{"recording_id": name, "label": label, "score": 0.5, "wrong": wrong} for name, label, wrong in cases]
    write_report(tmp_path, {**METRICS, "captured": captured}, EXHIBITS)
    text = " ".join(parsed(tmp_path).text.split())
    assert "1 of 3 are wrong" in text and "television no word wakes, which is wrong 0.5" in text
    assert "heard hey robin wakes 0.5" in text and "kettle no word does not wake 0.5" in text
    assert text.index("television") < text.index("kettle")


def test_there_is_a_player_for_every_sound(page):
    audio = [given for name, given in page.found if name == "audio"]
    assert len(audio) == 6 and all("controls" in given for given in audio)
    assert page.text.count("no sound kept") == 2
    marks = [given["style"] for name, given in page.found if name == "i"]
    assert marks == ["left:25.0%;width:50.0%"] * 6


@pytest.mark.parametrize(
    "shown",
    [
        "3.5 %",
        "far, 10 dB",
        "0.12 s / 0.31 s",
        "1:23.4",
        "abcdef0123456789",
        "And 22 more in metrics.json.",
        "unreachable: lowest is 0.37",
        "temperature",
        "too short: 0.1 s",
        "73,412",
        "1.23",
        "2 % to 9 %",
        "0 in 3.25 h",
        "0.5 an hour is 1.6 events in 3.25 h",
        "people/bert.wav",
        "1 of 120 training recordings of a wake word score below 0.5, and 9 of 1,300 others above",
        "−68 dBFS",
        "hard negative",
        "none found",
        "−1.5 points better",
        "+0.3 worse",
        "other test recordings",
        "evaluation.streams.gap_seconds",
        "2026-01-02 03:04",
        "4 were missed by the earlier model only, 2 by this one only, and 5 by both",
        "0 false alarms in 10 hours of background audio means a true rate below 0.3 an hour at 95 % confidence.",
        "To show 0.5 an hour at 95 % confidence takes 5.99 h of background without an alarm, and more with some; there "
        "were in validation 3.25 h and in the test 10 h.",
        "17 of 340 set off a detection",
        "in at most 1.30 s",
        "10 of 40",
        "3.1 % to 7.8 %",
        "And 15 more in metrics.json.",
        "real 5 of 40",
        "hey robin train 11 3 601 ",
    ],
)
def test_figures_are_on_the_page(page, shown):
    assert shown in page.text


def test_figures_stand_under_their_headings_whatever_their_order(written, tmp_path):
    points = {name: dict(reversed(sides.items())) for name, sides in METRICS["operating_points"].items()}
    data = {**METRICS["data"], "splits": dict(reversed(METRICS["data"]["splits"].items()))}
    write_report(tmp_path, {**METRICS, "operating_points": points, "data": data}, EXHIBITS)
    assert (tmp_path / "report.html").read_text() == (written / "report.html").read_text()


def test_a_long_name_may_be_broken_where_its_words_are_joined(tmp_path):
    sources = [{**METRICS["stream"]["by_source"][0], "name": "my_<b>_words"}]
    write_report(tmp_path, {**METRICS, "stream": {**METRICS["stream"], "by_source": sources}}, EXHIBITS)
    assert "my_<wbr>&lt;b&gt;_<wbr>words" in (tmp_path / "report.html").read_text()


def test_lists_are_cut_to_what_can_be_heard(page):
    assert "miss02" in page.text and "miss03" not in page.text


def test_without_sounds_lists_are_cut_all_the_same(tmp_path):
    write_report(tmp_path, METRICS, Exhibits(PICTURES, suspicious=[None, None]))
    page = parsed(tmp_path)
    assert "miss19" in page.text and "miss20" not in page.text
    assert "audio" not in [name for name, _ in page.found] and "earlierkey" not in page.text


def test_rates_are_drawn_where_they_are(page):
    styles = [given["style"] for name, given in page.found if name == "span" and "style" in given]
    # conditions end at 30 %: clean is at 2 of 30
    assert styles[:2] == ["left:1.83%;width:21.50%", "left:6.67%"]
    dots = [given["class"] for name, given in page.found if given.get("class", "").startswith("dot")]
    assert dots[:3] == ["dot", "dot", "dot far"]


def test_groups_are_worst_first_and_limited(page):
    speakers = re.findall(r"people/\d+", page.text[page.text.index("By speaker group") :])
    assert speakers[:3] == ["people/13", "people/20", "people/6"] and len(set(speakers)) == 20
    assert "And 3 more in metrics.json." in page.text
    assert "noisy" in page.text and "words only" not in page.text


def test_the_strictest_point_is_first_and_the_default_is_named(page):
    table = page.text[page.text.index("Operating points") :]
    assert table.index("strict") < table.index("balanced default")


def test_a_file_for_microcontrollers_stands_beside_the_model_where_there_is_one(page, tmp_path):
    assert "microcontroller" not in page.text
    rates = {
        "words": 200, "misses": 9, "frr": 0.045, "frr_interval": (0.024, 0.083), "false_alarms": 3,
        "background_hours": 10.0, "fah": 0.3, "fah_interval": (0.062, 0.877),
    }  # fmt: skip
    artifact = SimpleNamespace(
        figures={
            "made": True, "model": "hey_robin.tflite", "bytes": 53_056, "arena_bytes": 21_152, "cutoff": 0.7922,
            "window": 5, "reachable": True, "rule": "esphome", "parameters": 1,
            "rates": {"val_esphome": {}, "test_esphome": rates, "test_pymicro": {**rates, "misses": 8, "frr": 0.04}},
        }
    )  # fmt: skip
    figures = device_figures(artifact)
    write_report(tmp_path, {**METRICS, **figures}, EXHIBITS)
    text = parsed(tmp_path).text
    section = " ".join(text[text.index("On a microcontroller") : text.index("Against the champion")].split())
    assert "onnxruntime 0.6100 3.5 %1.7 % to 7 %7 of 200" in section
    assert "hey_robin.tflite ESPHome 0.7922, mean of 5 4.5 %2.4 % to 8.3 %9 of 200 0.30.062 to 0.88" in section
    assert "pymicro-wakeword 0.7922, mean of 5 4 %" in section
    assert "It has 53,056 bytes, and is given 21,152 more" in section and "though none" not in section
    assert device_summary(figures) == {
        "tflite_frr": 0.045, "tflite_misses": 9, "tflite_fah": 0.3, "tflite_false_alarms": 3
    }  # fmt: skip
    loud = {"tflite": {**figures["tflite"], "reachable": False, "window": 1}}
    write_report(tmp_path, {**METRICS, **loud}, EXHIBITS)
    assert "though none has as few false alarms there" in parsed(tmp_path).text
    for nothing in (None, SimpleNamespace(figures={"made": False})):
        assert device_figures(nothing) == device_summary({}) == {}


def test_the_page_does_not_depend_on_what_is_compared_with(tmp_path):
    write_report(tmp_path / "a", METRICS, EXHIBITS)
    write_report(tmp_path / "b", METRICS, replace(EXHIBITS, comparison=None))
    one, other = ((tmp_path / name / "metrics.json").read_bytes() for name in "ab")
    assert one == other


def test_each_of_several_wake_words_has_its_own_figures(page, tmp_path):
    rates = [
        WordRate("computer", 0.912, 80, 4, 0.05, Interval(0.02, 0.12), 3, 0.3, Interval(0.06, 0.9)),
        WordRate("okay house", 0.25, 0, 0, None, Interval(0.0, 1.0), 0, 0.0, Interval(0.0, 0.37)),
    ]
    write_report(tmp_path, {**METRICS, "by_word": [asdict(rate) for rate in rates]}, EXHIBITS)
    text = " ".join(parsed(tmp_path).text.split())
    assert "computer 0.9120 5 %4 of 80, 2 % to 12 % 0.33, 0.06 to 0.9" in text
    assert "okay house 0.2500 –0 of 0" in text and "Each wake word" not in page.text


def test_what_a_test_did_not_give_is_left_out(tmp_path):
    stream = replace(
        STREAM,
        miss_list=[],
        false_alarms=[],
        confusables=0,
        short_phrases=NO_PHRASES,
        latency_p50=None,
        latency_p95=None,
        by_origin=STREAM.by_origin[:1],
    )
    metrics = {
        **METRICS,
        "stream": asdict(stream),
        "clips": {"test": asdict(clip_metrics([0.9], [1]))},
        "clip_groups": {"source": {}, "snr": {}},
        "data": {**METRICS["data"], "health": [], "quarantine": [], "reasons": {}},
        "suspicious": {**METRICS["suspicious"], "worst": []},
    }
    write_report(tmp_path, metrics, Exhibits({name: png for name, png in PICTURES.items() if name != "roc"}))
    page = parsed(tmp_path)
    assert "hey robin" not in page.text and page.text.count("None.") == 2
    assert "short phrases by strangers, so it does not show" in page.text
    for absent in (
        "phrases alike",
        "Said by people",
        "Who says the wake word",
        "short phrases let in",
        "Short phrases by",
        "(median)",
        "EER of test",
        "Left out, and why",
        "Suspicious",
        "Against",
        "ROC of",
    ):
        assert absent not in page.text
    ids = {given["id"] for _, given in page.found if "id" in given}
    assert {given["href"][1:] for name, given in page.found if name == "a"} == ids


def test_not_a_number_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, {**METRICS, "loss": float("nan")}, EXHIBITS)
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_was_recorded_it_says_so_plainly(tmp_path):
    nobody, some = replace(REAL, real_words=0), replace(REAL, real_words=60)
    told = reservations({"origins": {"validation": asdict(nobody), "test": asdict(some)}})
    assert told == [
        "No real recording of the wake word was in validation: its miss rates are of synthetic voices, and the "
        "thresholds were set by background, or by phrases that sound alike where there was too little of it.",
        "40 of the 100 recordings of the wake word in the test are synthetic: how people are heard in real rooms is "
        "not shown by them.",
    ]
    computed = replace(nobody, real_background_hours=0.0)
    told = reservations({"origins": {"validation": asdict(REAL), "test": asdict(computed)}})
    assert "say nothing of how people are heard" in told[0] and "No real background was in the test" in told[1]
    metrics = {**METRICS, "origins": {"validation": asdict(REAL), "test": asdict(replace(computed, real_words=0))}}
    assert "in the test 10 h (of them 10 h synthetic)" in evidence(metrics)
    write_report(tmp_path, metrics, EXHIBITS)
    assert "10 dB, synthetic voices only" in parsed(tmp_path).text and told[0] in parsed(tmp_path).text


def test_it_says_whether_it_is_held_against_the_champion(tmp_path):
    last = {**COMPARISON, "of_champion": False}
    for name, comparison, told in (("a", COMPARISON, "Against the champion"), ("b", last, "Against the last report")):
        write_report(tmp_path / name, METRICS, replace(EXHIBITS, comparison=comparison))
        assert told in (tmp_path / name / "report.html").read_text()


@pytest.mark.parametrize("opened", [True, False])
def test_model_and_judge_have_a_section_with_what_each_misses_and_the_goals(tmp_path, opened):
    times = (ChunkTime(0.61, 3.04), ChunkTime(1.5, 160.0)) if opened else (None, None)
    exhibits = replace(
        EXHIBITS, pictures={**PICTURES, "cascade": PNG}, computing=Computing(ChunkTime(0.9, 1.24), *times)
    )
    write_report(tmp_path, {**METRICS, "cascade": CASCADE}, exhibits)
    text = parsed(tmp_path).text
    section = re.sub(r"\s+", " ", text[text.index("The model ships with a judge") : text.index("Against the champion")])
    assert "need not hear 95 % of the background" in section and "takes 3 away, and 2 are new" in section
    assert "the gate 1 %2 of 200 1231,234" in section
    assert "the judge, of what it is asked about 1 %2 of 198 0.22" in section
    assert "both 2 %4 of 200 0.22" in section
    assert "the model alone 120 / 310 0.9 / 1.2 121 / 311" in section
    assert "computing of the model, at the edge under 50 ms 1.2 ms yes" in section
    if opened:
        assert (
            "both 120 / 310 1.5 / 160.0 122 / 470" in section
            and "judge, on a server under 150 ms 3.0 ms yes" in section
        )
    else:
        assert "both 120" not in section and "judge, on a server under 150 ms – unknown" in section


def test_a_second_judge_is_told_where_there_is_one(tmp_path):
    asked = {"words_asked": 197, "openings": 9}
    second = {"policy": "each", "heard_share": 0.01, "asked": asked, "first": CASCADE["stream"]}
    exhibits = replace(EXHIBITS, pictures={**PICTURES, "cascade": PNG})
    write_report(tmp_path, {**METRICS, "cascade": {**CASCADE, "second": second}}, exhibits)
    text = re.sub(r"\s+", " ", parsed(tmp_path).text)
    assert "hear something, which is in 1 % of the background. Each of them has to reach" in text
    assert "the second gate 0.51 %1 of 198" in text and "all three 2 %4 of 200" in text


def test_a_model_without_a_judge_has_no_such_section(page):
    assert "with its judge" not in page.text


def test_doubtful_recordings_are_shown_with_what_was_heard_only_where_somebody_listened(tmp_path, page):
    row = {"recording_id": "miss00", "label": "hey robin", "source": "people", "speaker": "people/4"}
    worst = [{**row, "heard": "<b>thank you", "unheard": 0.72}, {**row, "heard": "", "unheard": 1.0, "speaker": ""}]
    doubtful = {"listened": 1_200, "doubtful": 3, "worst": worst}
    write_report(tmp_path, {**METRICS, "doubtful": doubtful}, replace(EXHIBITS, doubtful=[SOUND, None]))
    text = parsed(tmp_path).text
    section = text[text.index("Doubtful training recordings") :]
    assert "listened to the 1,200 recordings" in section and "less than half of it in 3." in section
    assert "<b>thank you 72 %" in section and "nothing 100 %" in section and "people/bert.wav" in section
    assert section.count("no sound kept") == 1
    assert "Doubtful" not in page.text
