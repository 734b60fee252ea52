"""The report: self-contained, safe with any text, honest about what it cannot show."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest

from wakeword_core.evaluation.calibration import Calibration
from wakeword_core.evaluation.metrics import Interval, clip_metrics
from wakeword_core.evaluation.report import claim, reservations, write_report
from wakeword_core.evaluation.stream_test import ConditionResult, FalseAlarm, Miss, OperatingPoint, StreamResult

NASTY = "<script>alert('x')</script> & \"co\""
POINT = OperatingPoint(0.5, 0.61, 0.05, 0.0, True, 0.0)
STREAM = StreamResult(
    threshold=0.61,
    words=200,
    misses=7,
    frr=0.035,
    frr_interval=Interval(0.017, 0.07),
    conditions=[
        ConditionResult(None, 100, 2, 0.02, Interval(0.0055, 0.07), 1, 0.12, 0.31),
        ConditionResult(10.0, 100, 5, 0.05, Interval(0.0215, 0.1118), 0, None, None),
    ],
    fah=0.0,
    fah_interval=Interval(0.0, 0.3689),
    fah_below=0.2996,
    confidence=0.95,
    false_alarm_count=0,
    background_hours=10.0,
    confusables=40,
    confusables_accepted=3,
    latency_p50=0.12,
    latency_p95=0.31,
    false_alarms=[FalseAlarm(NASTY, "abcdef0123456789zzzz", 83.44, 0.9312, "hey robin")],
    miss_list=[Miss("people", f"miss{i:02d}", "hey robin", 10.0, 0.1234) for i in range(25)],
)
METRICS = {
    "phrase": NASTY,
    "operating_point": {**asdict(POINT), "background_hours": 3.25},
    "stream": asdict(STREAM),
    "fah_points": [asdict(POINT), asdict(OperatingPoint(0.1, 0.9, 0.5, 0.37, False, 0.37))],
    "clips": {"test": asdict(clip_metrics([0.9, 0.2, 0.4], [1, 0, 0])), "val": asdict(clip_metrics([0.9], [1]))},
    "calibration": asdict(Calibration(1.75, 0.5, 0.4, 0.1, 0.02, 1234)),
    "data": {
        "recordings": 1500,
        "usable": 1480,
        "quarantined": 20,
        "hours": 3.5,
        "unknown_speaker_share": 0.25,
        "roles": {"positive": 500},
        "splits": {"train": 1000, "test": 480},
        "split_hours": {"train": 2.5},
        "reasons": {"too short": 20},
        "quarantine": [{"source": "mine", "path": NASTY, "reason": "too short: 0.1 s"}],
    },
    "model": {"parameters": "73,412"},
    "unknown": [1],
}
PNG = b"\x89PNG\r\n\x1a\nnot really"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.found, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path):
    write_report(tmp_path, METRICS, {"det": PNG, "mels": PNG, NASTY: PNG})
    parser = Tags()
    parser.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert parser.open == []
    return parser


def test_metrics_are_all_in_the_json(tmp_path, page):
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(METRICS))


def test_the_page_is_self_contained_and_escaped(tmp_path, page):
    names = [name for name, _ in page.found]
    assert not {"script", "link", "iframe", "a"} & set(names)
    assert names.count("img") == 3
    assert all(given["src"].startswith("data:image/png;base64,") for name, given in page.found if name == "img")
    text = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert page.text.count(NASTY) >= 3
    assert all(any(name == "meta" and given.get("name") == one for name, given in page.found) for one in ("viewport",))


@pytest.mark.parametrize(
    "shown",
    [
        "3.5 %",
        "10 dB SNR",
        "2.1 % to 11.2 %",
        "0.12 s / 0.31 s",
        "1:23.4",
        "abcdef0123456789",
        "And 5 more in metrics.json.",
        "not reachable",
        "lowest 0.37",
        "Temperature 1.750",
        "too short: 0.1 s",
        "73,412",
        "3.25",
        "0 false alarms in 10 hours of background audio means a true rate below 0.3 an hour at 95 % confidence.",
    ],
)
def test_figures_are_on_the_page(page, shown):
    assert shown in page.text


def test_lists_are_cut_on_the_page(page):
    assert "miss19" in page.text and "miss20" not in page.text


def test_the_least_there_can_be(tmp_path):
    write_report(tmp_path, {"phrase": "hey robin"}, {})
    assert "hey robin" in (tmp_path / "report.html").read_text()


def test_not_a_number_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path, {"phrase": "x", "loss": float("nan")}, {})
    assert list(tmp_path.iterdir()) == []


def test_the_claim_counts_what_happened():
    four = asdict(replace(STREAM, false_alarm_count=4, fah=0.4))
    assert claim(four) == (
        "4 false alarms in 10 hours of background audio mean a true rate below 0.92 an hour at 95 % confidence."
    )


def test_reservations_say_what_is_not_shown():
    fine = {"operating_point": asdict(POINT), "stream": asdict(STREAM), "data": {"unknown_speaker_share": 0.0}}
    assert reservations(fine) == []
    short = {**fine, "stream": asdict(replace(STREAM, background_hours=0.5))}
    assert "0.5 hours of background cannot confirm 0.5" in reservations(short)[0]
    assert "5.99 hours" in reservations(short)[0]
    loud = {**fine, "stream": asdict(replace(STREAM, false_alarm_count=8, fah=0.8))}
    assert "0.8 false alarms an hour exceed the target" in reservations(loud)[0]
    missed = {**fine, "operating_point": asdict(replace(POINT, reachable=False, lowest_fah=2.5))}
    assert "not reachable" in reservations(missed)[0] and "2.5 an hour" in reservations(missed)[0]
    assert "25 % of the recordings is unknown" in reservations({"data": {"unknown_speaker_share": 0.25}})[0]
    assert reservations({}) == []
