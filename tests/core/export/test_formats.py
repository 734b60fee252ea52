"""The table of formats says what was measured, and that the rest was not."""

from types import SimpleNamespace

import pytest

from wakeword_core.export.formats import COLUMNS, Format, OnTest, cells, formats

STREAM = {
    "words": 200, "misses": 10, "frr": 0.05, "frr_interval": (0.02, 0.1), "false_alarm_count": 4, "fah": 0.4,
    "fah_interval": (0.1, 1.0), "background_hours": 10.0, "threshold": 0.6,
}  # fmt: skip
METRICS = {"stream": STREAM, "operating_point": {"name": "balanced"}}
STREAMS = {"streaming_bytes": 517_000, "streaming_parity": 2.4e-7, "streaming_native": True}
FIGURES = {
    "onnx_model": {"bytes": 501_000, "device_ram_bytes": 57_300, "cpu_ms_per_s": 4.31, **STREAMS},
    "int8_model": {
        **STREAM, "frr": 0.06, "bytes": 135_000, "changed_at_balanced": 3, "changed_at_strict": 1, "windows": 2_055,
        "mean_score_difference": 4.1e-3, "windows_ms_per_s_fp32": 6.4, "windows_ms_per_s_int8": 3.2,
        "cpu_ms_per_s_int8": 3.6, **STREAMS, "streaming_bytes": 150_000, "streaming_parity": 2.1e-2,
    },
    "fp16_model": {
        "bytes": 252_000, "changed_at_balanced": 0, "windows": 2_055, "mean_score_difference": 1.6e-5,
        "windows_ms_per_s_fp32": 6.5, "windows_ms_per_s_fp16": 9.1,
    },
}  # fmt: skip
USUAL = ["model.onnx", "model.streaming.onnx", "model.int8.onnx", "model.streaming.int8.onnx", "model.fp16.onnx"]


def artifacts(**more: dict) -> dict:
    figures = {**FIGURES, **more}
    files = {"judge.onnx": SimpleNamespace(size=1_771_000)}
    return {name: SimpleNamespace(figures=values, files=files) for name, values in figures.items()}


def table(**more: dict) -> dict[str, Format]:
    return {row.file: row for row in formats(artifacts(**more), METRICS)}


def test_every_file_has_the_figures_of_its_stage() -> None:
    rows = table()
    assert list(rows) == USUAL
    assert [row.bytes for row in rows.values()] == [501_000, 517_000, 135_000, 150_000, 252_000]
    assert [row.cpu_ms_per_s for row in rows.values()] == [6.5, 4.31, 3.2, 3.6, 9.1]
    assert [row.memory_bytes for row in rows.values()] == [None, 57_300, None, None, None]
    assert rows["model.onnx"].tested == OnTest(200, 10, 0.05, (0.02, 0.1), 4, 10.0, 0.4, (0.1, 1.0))
    assert rows["model.int8.onnx"].tested == OnTest(200, 10, 0.06, (0.02, 0.1), 4, 10.0, 0.4, (0.1, 1.0))
    assert not any(rows[name].tested for name in USUAL if name not in ("model.onnx", "model.int8.onnx"))
    assert [row.note for row in rows.values()] == [
        "",
        "scores within 2e-07 of model.onnx",
        "3 of 2,055 windows decided otherwise than by model.onnx, scores 4e-03 apart on average",
        "scores within 2e-02 of model.int8.onnx",
        "0 of 2,055 windows decided otherwise than by model.onnx, scores 2e-05 apart on average",
    ]


def test_a_file_that_was_not_tested_decides_as_another_where_that_was_measured() -> None:
    rows = table(torch_program={"bytes": 583_000, "parity": 1.2e-7, "windows_ms_per_s": 12.0})
    alike = {name for name, row in rows.items() if row.decides_as}
    assert alike == {"model.streaming.onnx", "model.fp16.onnx", "model.pt2"}
    assert all(
        rows[name].decides_as == "model.onnx" and cells(rows[name])[4:6] == ("as model.onnx",) * 2 for name in alike
    )
    assert cells(rows["model.streaming.int8.onnx"])[4:6] == ("–", "–")
    other = table(
        onnx_model=FIGURES["onnx_model"] | {"streaming_parity": 2e-4},
        int8_model=FIGURES["int8_model"] | {"streaming_parity": 1e-4},
        fp16_model=FIGURES["fp16_model"] | {"changed_at_balanced": 1},
    )
    assert {name: row.decides_as for name, row in other.items() if row.decides_as} == {
        "model.streaming.int8.onnx": "model.int8.onnx"
    }
    before = {name: value for name, value in FIGURES["int8_model"].items() if name not in STREAM}
    assert cells(table(int8_model=before | {"changed_at_balanced": 0})["model.int8.onnx"])[4] == "as model.onnx"


def test_the_other_formats_have_rows_where_they_were_made() -> None:
    rates = {**STREAM, "frr": 0.08, "false_alarms": 6}
    del rates["false_alarm_count"]
    device = {
        "made": True, "model": "hey_robin.tflite", "bytes": 53_056, "arena_bytes": 28_560, "rule": "esphome",
        "rates": {"test_esphome": rates, "test_pymicro": STREAM, "val_esphome": STREAM},
    }  # fmt: skip
    heads = {"openwakeword/hey_robin.onnx": 90_000, "openwakeword/hey_robin.tflite": 88_000}
    rows = table(
        openwakeword_model={**STREAM, "frr": 0.3, "files": heads},
        torch_program={"bytes": 583_000, "parity": 1.2e-7, "windows_ms_per_s": 12.0},
        judged_model={**STREAM, "frr": 0.03, "heard_share": 0.25},
        tflite_model=device,
    )
    assert list(rows) == [*USUAL, "model.pt2", "judge.onnx", "hey_robin.tflite", *heads]
    assert (rows["model.pt2"].cpu_ms_per_s, rows["model.pt2"].note) == (12.0, "scores within 1e-07 of model.onnx")
    assert rows["judge.onnx"].bytes == 1_771_000 and rows["judge.onnx"].tested.frr == 0.03
    assert "at 25 % of the background" in rows["judge.onnx"].note
    two = table(judged_model={**STREAM, "heard_share": 0.25, "second_heard_share": 0.02, "second_bytes": 90_000})
    assert two["second_judge/judge.onnx"].note == "after judge.onnx, at 2 % of the background"
    tflite = rows["hey_robin.tflite"]
    assert (tflite.memory_bytes, tflite.memory, tflite.cpu_ms_per_s) == (28_560, "arena", None)
    assert (tflite.tested.frr, tflite.tested.false_alarm_count) == (0.08, 6)
    assert [(rows[name].bytes, rows[name].tested.frr) for name in heads] == [(90_000, 0.3), (88_000, 0.3)]
    assert not table(openwakeword_model={"files": heads})["openwakeword/hey_robin.onnx"].tested
    assert list(table(tflite_model={"made": False, "because": "another front end"})) == USUAL


def test_which_rounding_was_chosen_stands_beside_what_the_other_one_gave() -> None:
    tried = [{"method": "static", "val_f1": 0.95}, {"method": "static", "val_f1": 0.97}]
    int8 = {**FIGURES["int8_model"], "method": "trained", "tried": [*tried, {"method": "trained", "val_f1": 0.98}]}
    rates = {"test_esphome": {**STREAM, "false_alarms": 6}}
    on_validation = {"reachable": True, "words": 1_200}
    rounding = {
        "chosen": "afterwards",
        "afterwards": {**on_validation, "misses": 30, "false_alarms": 2},
        "trained": {**on_validation, "misses": 31, "false_alarms": 0},
    }
    device = {
        "made": True, "model": "robin.tflite", "bytes": 53_056, "arena_bytes": 28_560, "rule": "esphome",
        "rates": rates,
    }  # fmt: skip
    rows = table(int8_model=int8, tflite_model={**device, "rounding": rounding})
    assert rows["model.int8.onnx"].note.endswith(
        "; rounded as it was in training, chosen on validation: F1 0.9800, and by its ranges after training F1 0.9700"
    )
    assert rows["robin.tflite"].note == (
        "in 8-bit integers, by the rule of ESPHome; rounded by its ranges after training, chosen on validation: 30 of "
        "1,200 words missed, 2 false alarms, and as it was in training 31 of 1,200 words missed, 0 false alarms"
    )
    rows = table(int8_model={**int8, "method": "static", "tried": tried}, tflite_model=device)
    assert not any("rounded" in row.note for row in rows.values())


def test_a_model_that_does_not_stream_has_no_such_rows_and_what_older_stages_left_out_is_not_measured() -> None:
    still = {name: {"bytes": 1} for name in FIGURES}
    rows = table(**still)
    assert list(rows) == ["model.onnx", "model.int8.onnx", "model.fp16.onnx"]
    assert all(row.cpu_ms_per_s is None and row.memory_bytes is None for row in rows.values())
    assert cells(rows["model.fp16.onnx"]) == ("model.fp16.onnx", "0", "–", "–", "–", "–", "")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            Format("model.onnx", 501_499, None, cpu_ms_per_s=4.26, tested=OnTest.of(STREAM)),
            ("model.onnx", "501", "–", "4.3", "5 % (2 % to 10 %)", "0.4 (0.1 to 1)", ""),
        ),
        (
            Format("x.tflite", 53_056, 28_560, "arena", note="a note"),
            ("x.tflite", "53", "29 (arena)", "–", "–", "–", "a note"),
        ),
        (Format("new"), ("new", "–", "–", "–", "–", "–", "")),
    ],
)
def test_a_row_is_written_for_people(row: Format, expected: tuple[str, ...]) -> None:
    assert cells(row) == expected and len(cells(row)) == len(COLUMNS)
