"""The load and the soak, small, against a real server."""

import json

import judge_load
import pytest

pytestmark = pytest.mark.server


@pytest.fixture
def report(write_model, tmp_path, capsys):
    def run(*arguments):
        (tmp_path / "model").mkdir(exist_ok=True)
        write_model(tmp_path / "model" / "model.onnx")
        assert judge_load.main(["--model", str(tmp_path / "model"), *arguments]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_every_client_is_answered(report) -> None:
    found = report("--clients", "8", "--seconds", "0.5", "--clip", "0.5")
    assert found["errors"] == 0 and found["answers"] == {"200": found["requests"]} and found["requests"] >= 8
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert found["ratio"] == pytest.approx(8 / 40 / (found["p99_ms"] / 1e3), rel=0.05)
    assert found["requests_a_run"] >= 1 and found["windows_a_run"] > 10


def test_a_soak_hears_every_stream_and_weighs_the_server(report) -> None:
    found = report("--soak", "0.02", "--streams", "2")
    assert found["messages"]["scores"] > 10 and found["heard_seconds"] >= 2 * 0.02 * 60
    assert 0 < found["resident_mb_first"] < 1_000 and 0 < found["ratio"] <= 10
