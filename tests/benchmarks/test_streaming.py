"""The arithmetic of the comparison, and one side of it for real."""

import pytest
from streaming import CHUNKS_MS, Side, _medians, _ratios


def test_the_ratios_are_against_the_goals() -> None:
    engines = {"mixednet": 1.0, "balanced": 2.0, "microWakeWord": 1.5, "openWakeWord": 60.0}
    found = _ratios({name: {"cpu_ms_per_s_80": cost} for name, cost in engines.items()}, 80)
    assert found == {"mixednet": 1.5, "balanced": 3.0}


def test_medians_are_of_one_chunk_size_and_the_peak_of_all() -> None:
    rounds = [
        {"cpu": cpu, "wall": 2 * cpu, "peak_mb": cpu, "chunk_ms": size} for size in CHUNKS_MS for cpu in (size, 1, 9)
    ]
    assert _medians(rounds) == {
        "cpu_ms_per_s_80": 9, "cpu_ms_per_s_30": 9, "wall_ms_per_s_80": 18, "wall_ms_per_s_30": 18, "peak_mb": 80,
    }  # fmt: skip


def test_a_side_answers_rounds_and_says_when_it_cannot(write_model, tmp_path) -> None:
    write_model(tmp_path / "model.onnx")
    side = Side("ours", str(tmp_path))
    assert side.start["native"] is None and side.start["file_bytes"] == (tmp_path / "model.onnx").stat().st_size
    result = side.round(30, 0.3)
    side.close()
    assert 0 < result["cpu"] < 1_000 and 20 < result["peak_mb"] < 500
    with pytest.raises(SystemExit, match="ended with 1"):
        Side("ours", str(tmp_path / "none"))
