"""The plan of when the gate is open, and a measurement of a small judge."""

import json
from types import SimpleNamespace

import judge_looks
import numpy as np
import pytest
from small_judge import save_judge

from wakeword_core.runtime import WakewordModel


@pytest.mark.parametrize(("gate", "share"), [("always", 1.0), ("5 %", 0.05), ("never", 0.0)])
def test_the_gate_is_open_as_long_as_planned(gate, share) -> None:
    plan = judge_looks.Plan(640, 0.5, *judge_looks.GATES[gate])
    heard = [plan.push(np.zeros(size, np.int16)) for size in (1, 700, 16_000 * 48 - 701)]
    times, scores = (np.concatenate(parts) for parts in zip(*heard, strict=True))
    assert len(times) == 16_000 * 48 // 640
    loud = np.flatnonzero(scores[:, 1] > 0.5)
    still_open = loud[:, None] + np.arange(round(0.5 / 0.04) + 1) if len(loud) else loud
    assert len(np.unique(np.minimum(still_open, len(times)))) / len(times) == pytest.approx(share, abs=0.005)


def test_a_measurement_tells_costs_of_looks_and_memory(write_model, tmp_path, capsys) -> None:
    write_model(tmp_path / "model.onnx")
    card = WakewordModel(tmp_path / "model.onnx").card
    judge = save_judge(tmp_path / "judge.onnx", SimpleNamespace(card=card, graph_digest=""))
    assert judge_looks.main(["--judge", str(judge), "--rounds", "1", "--seconds", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["looks"]["always"] == 25 and report["looks"]["never"] == 0
    assert set(report["ms_a_look"]) == {"stream, always", "stream, 5 %", "file, always", "file, 5 %"}
    assert 0 < report["ms_a_second"]["stream, always"] < 1_000
    assert 0 < report["memory_mb"]["before"] <= report["memory_mb"]["open"] <= report["memory_mb"]["peak"]
