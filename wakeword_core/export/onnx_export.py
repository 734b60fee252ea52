"""The trained model as one ONNX file: log-mel window in, calibrated scores out."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config import FrontendConfig
from wakeword_core.config.export import OnnxConfig
from wakeword_core.errors import MissingDependencyError, WakewordError
from wakeword_core.runtime.exported import MODEL_FILE, SCORES

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

    from wakeword_core.models.scoring import ScoringModel

_INPUT = "log_mel"
_PARITY_WINDOWS = 16
_ANY_SIZE = 2**31
_QUIET_LOGGERS = (
    "torch.export", "torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir",
)  # fmt: skip


@dataclass(frozen=True)
class ExportSummary:
    """Figures of an exported model."""

    bytes: int
    parameters: int
    nodes: int
    opset: int
    parity: float
    """Largest difference of a score from torch, over random windows."""
    logit_parity: float
    """The same for logits, as a share of the largest: a confident model's scores are all 0 or 1 and hide any error."""


def export_onnx(model: "ScoringModel", card: dict[str, Any], settings: OnnxConfig, out: Path) -> ExportSummary:
    """Write `out/model.onnx`: float32 `log_mel` [batch, n_mels, frames] in, float32 `scores` [batch, classes] out.

    CMVN, calibration and softmax are inside, normalisation is folded into convolutions, the card is in the metadata,
    and the same model gives the same bytes. WakewordError when its scores differ from torch's by more than the
    tolerance. `card` needs `frontend`.
    """
    from wakeword_core.export.onnx_graph import compact, set_card, write_model

    frontend = FrontendConfig.model_validate(card["frontend"])
    shape = (frontend.bands, frontend.window_frames)
    graph = compact(traced(model, (_INPUT, shape), settings.opset))
    set_card(graph, card)
    path = out / MODEL_FILE
    size = write_model(graph, path)
    windows = np.random.default_rng(0).normal(-6.0, 4.0, (_PARITY_WINDOWS, *shape)).astype(np.float32)
    differences = {"scores": parity(model, path, windows), "logits": logit_parity(model, path, windows)}
    for what, difference in differences.items():
        if not difference <= settings.parity_tolerance:
            raise WakewordError(
                f"{what} of {path} differ from torch's by {difference:.2g}, more than export.onnx.parity_tolerance "
                f"({settings.parity_tolerance:g}); report this with the model's configuration"
            )
    return ExportSummary(
        bytes=size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        nodes=len(graph.graph.node),
        opset=graph.opset_import[0].version,
        parity=differences["scores"],
        logit_parity=differences["logits"],
    )


def parity(model: "ScoringModel", onnx_path: Path, windows: npt.NDArray[np.float32]) -> float:
    """Return the largest absolute difference of a score from torch's for log-mel windows [n, n_mels, frames]."""
    from wakeword_core.runtime import WakewordModel

    expected = in_torch(model, model, windows)
    return float(np.abs(WakewordModel(onnx_path).score_windows(windows) - expected).max(initial=0.0))


def logit_parity(model: "ScoringModel", onnx_path: Path, windows: npt.NDArray[np.float32]) -> float:
    """Return the largest difference of what enters the softmax, as a share of the largest such value (or of 1)."""
    from wakeword_core.export.onnx_graph import softmax_inputs

    expected = in_torch(model, model.calibrated_logits, windows)
    difference = np.abs(softmax_inputs(onnx_path, windows) - expected).max(initial=0.0)
    return float(difference / np.abs(expected).max(initial=1.0))


def in_torch(
    model: "ScoringModel", compute: "Callable[[torch.Tensor], torch.Tensor]", windows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return what a part of a model, or all of it, computes of windows [n, n_mels, frames] on the model's device."""
    import torch

    with torch.inference_mode():
        values = compute(torch.from_numpy(windows).to(next(model.buffers()).device))
    result: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return result


def traced(model: "torch.nn.Module", given: tuple[str, tuple[int, ...]], opset: int) -> "ModelProto":
    """Return the graph of a network: an input [batch, ...] of the name and shape that are given, and `scores`."""
    import torch

    try:
        from onnxscript.optimizer import fold_constants  # the exporter needs it, too, and says so less clearly
    except ImportError as error:
        raise MissingDependencyError("exporting a model needs onnxscript: pip install onnxscript") from error
    name, shape = given
    training, device = model.training, next(model.buffers()).device
    model.eval().cpu()
    try:
        with quietly():
            program = torch.onnx.export(
                model,
                (torch.zeros(2, *shape),),
                input_names=[name],
                output_names=[SCORES],
                opset_version=opset,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        model.train(training).to(device)
    assert program is not None
    # The exporter leaves large constants to be computed when the model is loaded: weights of recurrent layers, whose
    # gates ONNX has in another order. Only what is stored as weights can be packed.
    fold_constants(program.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    return program.model_proto


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence torch's exporters, which name their steps and the packages that they could also use on every call."""
    loggers = [logging.getLogger(name) for name in _QUIET_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # recurrent layers keep a second list of their weights, which tracing swaps and puts back
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights", UserWarning)
            warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
