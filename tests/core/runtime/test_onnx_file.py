"""Files that are given as models and are none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.runtime.onnx_file import OnnxFile, read_onnx

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx is no ordinary file"):
        read_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("has", "found", "told"),
    [
        ([CPU], [CPU], "a.onnx runs on the CPU, since onnxruntime cannot use CUDA here (it was installed without CUDA"),
        ([CUDA, CPU], [CUDA, CPU], "a.onnx runs on the GPU"),
        ([CUDA, CPU], [CPU], "cannot use CUDA here (it found no GPU"),
        ([CUDA, CPU], None, "cannot use CUDA here (CUDA failure 100: no device)"),
    ],
)
def test_a_session_is_on_the_gpu_or_says_why_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has: list[str],
    found: list[str] | None,
    told: str,
) -> None:
    """`found` is what onnxruntime chooses of both providers; None where it fails."""
    asked: list[list[str]] = []

    class Session:
        def __init__(self, data: bytes, options: object, providers: list[str], enable_fallback: bool) -> None:
            asked.append(providers)
            if found is None and CUDA in providers:
                raise RuntimeError("CUDA failure 100: no device")
            self.providers = found if found and CUDA in providers else providers

        def get_providers(self) -> list[str]:
            return self.providers

    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: has)
    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    caplog.set_level("INFO")
    file = OnnxFile(Path("a.onnx"), b"", {})
    assert file.session().get_providers() == [CPU] and not caplog.records and asked == [[CPU]]
    on_gpu = found == [CUDA, CPU]
    assert file.session(device="cuda").get_providers() == ([CUDA, CPU] if on_gpu else [CPU])
    (record,) = caplog.records
    assert told in record.getMessage() and (record.levelname == "INFO") is on_gpu
    assert asked[1:] == [*([[CUDA, CPU]] if CUDA in has else []), *([] if on_gpu else [[CPU]])]
