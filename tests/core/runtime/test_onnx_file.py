"""Files that are given as models and are none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.runtime.onnx_file import read_onnx


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx is no ordinary file"):
        read_onnx(tmp_path / "model.onnx")
