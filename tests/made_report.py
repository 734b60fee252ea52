"""Figures of a made-up evaluation, and what a report shows besides."""

from dataclasses import asdict, replace

from wakeword_core.evaluation.measure.calibration import Calibration
from wakeword_core.evaluation.measure.intervals import Interval
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.evaluation.report.page import Exhibits
from wakeword_core.evaluation.report.players import Player
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.phrases import AcceptedRate, ShortPhrases
from wakeword_core.evaluation.streams.scores import FalseAlarm, Miss
from wakeword_core.evaluation.streams.stream_metrics import ConditionResult, GroupRate, StreamResult
from wakeword_core.evaluation.streams.thresholds import OperatingPoint

NASTY = "<script>alert('x')</script> & \"co\""
POINT = OperatingPoint(
    target_fah=0.5,
    threshold=0.61,
    frr=0.05,
    fah=0.0,
    reachable=True,
    lowest_fah=0.0,
    frr_interval=Interval(0.02, 0.09),
    fah_interval=Interval(0.0, 1.135),
    false_alarms=0,
    background_hours=3.25,
    note="0.5 an hour is 1.6 events in 3.25 h",
)
FAR = replace(POINT, target_fah=0.1, threshold=0.9, frr=0.5, fah=0.37, reachable=False, lowest_fah=0.37)
PHRASES = ShortPhrases(
    longest_seconds=1.296,
    recordings=340,
    accepted=17,
    share=0.05,
    interval=Interval(0.0314, 0.0785),
    by_source=[
        AcceptedRate("commands", 40, 10, 0.25, Interval(0.142, 0.402)),
        AcceptedRate("names", 300, 7, 0.0233, Interval(0.0114, 0.0474)),
    ],
    alarms=[FalseAlarm("commands", f"phrase{i:02d}", 0.9, 0.99 - i / 100, "hey robin") for i in range(17)],
)
NO_PHRASES = ShortPhrases(None, 0, 0, None, Interval(0.0, 1.0), [], [])
REAL = Origins(words=100, real_words=100, background_hours=10.0, real_background_hours=10.0)
STREAM = StreamResult(
    threshold=0.61,
    words=200,
    misses=7,
    frr=0.035,
    frr_interval=Interval(0.017, 0.07),
    conditions=[
        ConditionResult("clean", None, False, 100, 2, 0.02, Interval(0.0055, 0.07), 1, 0.12, 0.31),
        ConditionResult("10 dB", 10.0, False, 100, 5, 0.05, Interval(0.0215, 0.1118), 0, None, None),
        ConditionResult("far, 10 dB", 10.0, True, 100, 17, 0.17, Interval(0.109, 0.255), 0, 0.2, 0.4),
    ],
    fah=0.0,
    fah_interval=Interval(0.0, 0.3689),
    confidence=0.95,
    false_alarm_count=0,
    background_hours=10.0,
    confusables=40,
    confusables_accepted=3,
    short_phrases=PHRASES,
    latency_p50=0.12,
    latency_p95=0.31,
    false_alarms=[FalseAlarm(NASTY, "abcdef0123456789zzzz", 83.44, 0.9312, "hey robin")],
    miss_list=[Miss("people", f"miss{i:02d}", "hey robin", "10 dB", 0.1234, 0.2, 0.8, "people/4") for i in range(25)],
    by_source=[GroupRate("people", 200, 7, 0.035, Interval(0.017, 0.07))],
    by_origin=[
        GroupRate("real", 40, 5, 0.125, Interval(0.055, 0.2611)),
        GroupRate("synthetic", 160, 2, 0.0125, Interval(0.0034, 0.0444)),
    ],
    by_speaker=[GroupRate(f"people/{i}", 20, i % 7, i % 7 / 20, Interval(0.0, 0.5)) for i in range(23)],
)
DOUBTFUL = {
    "recording_id": "doubtful1",
    "label": "hey robin",
    "positive": True,
    "score": 0.0123,
    "loss": 4.4,
    "start": 0.1,
    "source": "people",
    "role": "positive",
    "seconds": 1.6,
    "level_dbfs": -68.2,
    "speech_start": None,
    "speech_end": None,
}
METRICS = {
    "phrase": NASTY,
    "operating_point": {**asdict(POINT), "name": "balanced"},
    "operating_points": {
        "balanced": {"validation": asdict(POINT), "test": asdict(STREAM)},
        "strict": {"validation": asdict(replace(FAR, note="unreachable: lowest is 0.37")), "test": asdict(STREAM)},
    },
    "origins": {"validation": asdict(replace(REAL, background_hours=3.25)), "test": asdict(REAL)},
    "target_conditions": ["clean", "10 dB"],
    "stream": asdict(STREAM),
    "fah_points": [asdict(POINT), asdict(FAR)],
    "clips": {"test": asdict(clip_metrics([0.9, 0.2, 0.4], [1, 0, 0])), "val": asdict(clip_metrics([0.9], [1]))},
    "clip_groups": {
        "source": {
            "noisy": {"negatives": 50, "false_positives": 3, "fpr": 0.06, "intervals": {"fpr": (0.02, 0.16)}},
            "words only": {"negatives": 0, "false_positives": 0, "fpr": None, "intervals": {}},
        },
        "snr": {},
    },
    "calibration": asdict(Calibration("temperature", {"temperature": 1.75}, 0.5, 0.4, 0.1, 0.02, 0.1, 0.03, 1234)),
    "data": {
        "recordings": 1500,
        "usable": 1480,
        "quarantined": 20,
        "hours": 3.5,
        "speakers": 12,
        "unknown_speaker_share": 0.25,
        "roles": {"positive": 500},
        "splits": {"train": 1000, "test": 480},
        "split_hours": {"train": 2.5, "test": 1.0},
        "split_speakers": {"train": 7, "test": 5},
        "health": [
            {"split": "train", "label": "_negative", "recordings": 900, "real": 900, "real_speakers": 5},
            {"split": "train", "label": "hey robin", "recordings": 612, "real": 11, "real_speakers": 3},
            {"split": "val", "label": "hey robin", "recordings": 0, "real": 0, "real_speakers": 0},
        ],
        "reasons": {"too short": 20},
        "quarantine": [{"source": "mine", "path": NASTY, "reason": "too short: 0.1 s"}],
    },
    "suspicious": {
        "worst": [DOUBTFUL, {**DOUBTFUL, "recording_id": "doubtful2", "positive": False, "role": "hard_negative"}],
        "positives": 120,
        "positives_wrong": 1,
        "others": 1300,
        "others_wrong": 9,
    },
    "model": {"parameters": 73_412},
    "unknown": [1],
}
COMPARISON = {
    "key": "earlierkey",
    "created": "2026-01-02T03:04:05.678+00:00",
    "of_champion": True,
    "same_test_data": False,
    "other_settings": ["evaluation.streams.gap_seconds"],
    "figures": [
        {"name": "FRR", "kind": "percent", "this": 0.035, "previous": 0.05, "difference": -0.015, "better": True},
        {"name": "FAH", "kind": "rate", "this": 0.4, "previous": 0.1, "difference": 0.3, "better": False},
    ],
    "words": {"missed_by_both": 5, "missed_by_this": 2, "missed_by_previous": 4},
}
SOUND = Player("data:audio/flac;base64,ZkxhQw==", "data:image/png;base64,iVBORw==", 2.5, (0.25, 0.75))
PNG = b"\x89PNG\r\n\x1a\nnot really"


CASCADE = {
    "stream": {**asdict(STREAM), "misses": 4, "false_alarm_count": 2},
    "asked": {"words_asked": 198, "openings": 1_234},
    "filtered": 0.95,
    "heard_share": 0.05,
    "taken_away": {"alarms_gone": 3, "alarms_new": 2, "words_lost": 1, "words_won": 4},
    "at_rates": [],
}

PICTURES = dict.fromkeys(("det", "roc", "scores", "reliability", "confusion", "training"), PNG)
EXHIBITS = Exhibits(
    pictures=PICTURES,
    misses=[SOUND, None, SOUND],
    false_alarms=[SOUND],
    short_phrases=[SOUND, SOUND],
    suspicious=[SOUND, None],
    paths={"miss00": "people/bert.wav"},
    comparison=COMPARISON,
    model={"CPU": "1.23"},
)
