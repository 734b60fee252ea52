"""What every test may rely on: no settings or log handlers of another test or of the developer's shell."""

import functools
import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wakeword_core.store.locks import exclusive

sys.path.insert(0, str(Path(__file__).parent))

_LOGGERS = ("wakeword_core", "wakeword_pipeline")


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch):
    for name in ("WAKEWORD_HOME", "WAKEWORD_LOG_LEVEL", "WAKEWORD_LOG_FORMAT", "WAKEWORD_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    before = {name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in _LOGGERS}
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True  # those of a fixture that several tests share would write, too
        logger.setLevel(logging.NOTSET)
    yield
    for name, (handlers, level) in before.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(level)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """The function that gives the folder of a name, which the first worker that asks for it fills for all of them.

    No test may change what is in it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder_of(name: str, fill: Callable[[Path], None]) -> Path:
        folder, beside = root / name, root / f"{name}.part"
        with exclusive(root / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(beside, ignore_errors=True)
                beside.mkdir()
                fill(beside)
                beside.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session", autouse=True)
def _quick_exporter() -> Iterator[None]:
    """Torch's exporter, which is all Python, twice as quick.

    At each export it would parse the sources of the same 500 operators again; and while lines are traced for the
    coverage, it would take half as long again.
    """
    if "torch" not in sys.modules:
        yield
        return
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", _quick(torch.onnx.export, patch))
        yield


def _quick(export: Callable[..., Any], patch: pytest.MonkeyPatch) -> Callable[..., Any]:
    @functools.cache
    def read_operators_once() -> None:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))

    @functools.wraps(export)
    def call(*arguments: Any, **options: Any) -> Any:
        read_operators_once()
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return export(*arguments, **options)
        finally:
            sys.settrace(tracer)

    return call


def pytest_configure():
    """A job in the background of a shell inherits that these are ignored, and so would all that tests start."""
    for one, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(one) is signal.SIG_IGN:
            signal.signal(one, usual)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: it need not be looked through for garbage again and again."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    _slow_files_first(items)
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _slow_files_first(items):
    """Workers take whole files in this order: a long one at the end would keep one worker busy and the rest idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
