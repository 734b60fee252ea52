"""Figures in words: what they show, what they do not, and by how much they differ."""

from dataclasses import asdict, replace

import pytest
from made_report import POINT, STREAM

from wakeword_core.evaluation.measure.wording import claim, rate, reservations, signed


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
    loud = {**fine, "stream": asdict(replace(STREAM, false_alarm_count=8, fah=0.8))}
    assert "0.8 false alarms an hour exceed the target" in reservations(loud)[0]
    missed = {**fine, "operating_point": asdict(replace(POINT, reachable=False, lowest_fah=2.5))}
    assert "not reachable" in reservations(missed)[0] and "2.5 an hour" in reservations(missed)[0]
    assert "25 % of the recordings is unknown" in reservations({"data": {"unknown_speaker_share": 0.25}})[0]
    assert reservations({}) == []


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.012, "percent", "+1.2 points"),
        (-0.5, "rate", "−0.5"),
        (0.0, "percent", "0 points"),
        (-1234, "count", "−1,234"),
        (None, "rate", "–"),
    ],
)
def test_differences_have_signs(value, kind, text):
    assert signed(value, kind) == text


@pytest.mark.parametrize(
    ("events", "text"),
    [(0, "0"), (0.00002, "0.00002"), (0.000123, "0.00012"), (0.05, "0.05"), (0.5, "0.5"), (1234.5, "1,234")],
)
def test_rates_are_written_without_exponents(events, text):
    assert rate(events) == text
