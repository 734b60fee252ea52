"""Torch: the calibrated model as a program of torch.export, compared with the network and with the exported model."""

from dataclasses import asdict

from wakeword_core.config import Config
from wakeword_core.graph.stage import CheckRun, Input, Stage, StageRun, Verdict, check
from wakeword_core.graph.stages.onnx import PARITY_WINDOWS
from wakeword_core.runtime.exported import MODEL_FILE, PROGRAM_FILE
from wakeword_core.store.artifacts import Artifact

_INPUTS = Input("calibrated_model"), Input("onnx_model"), Input("mel_features", split="val")


def _enabled(config: Config) -> bool:
    return config.export.torch.enabled


def make(run: StageRun) -> None:
    """Write the program with the card of the exported model, and measure it."""
    from wakeword_core.export.torch_program import make_program
    from wakeword_core.features.store import spread_windows
    from wakeword_core.models.scoring import load_model

    model, _ = load_model(run.inputs["calibrated_model"].path)
    windows = spread_windows(run.inputs["mel_features[val]"].path, PARITY_WINDOWS)
    run.figures = make_program(model, run.inputs["onnx_model"].file(MODEL_FILE), windows, run.out)


def program_faithful(program: Artifact, run: CheckRun) -> Verdict:
    """Fail where scores differ from the network's or the exported model's on windows of validation."""
    from wakeword_core.export.torch_program import program_parity
    from wakeword_core.features.store import spread_windows
    from wakeword_core.models.scoring import load_model

    model, _ = load_model(run.inputs["calibrated_model"].path)
    windows = spread_windows(run.inputs["mel_features[val]"].path, PARITY_WINDOWS)
    onnx, allowed = run.inputs["onnx_model"].file(MODEL_FILE), run.config.export.onnx.parity_tolerance
    found = program_parity(model, onnx, program.file(PROGRAM_FILE), windows)
    description = (
        f"largest difference over {len(windows)} windows is {found.from_torch:.1e} from torch and "
        f"{found.from_onnx:.1e} from {MODEL_FILE}, {allowed:.0e} allowed"
    )
    return Verdict(found.largest <= allowed, description, asdict(found))


STAGE = Stage(
    name="torch_program",
    version="1",
    make=make,
    inputs=_INPUTS,
    settings=(),
    group="delivery",
    kinds=("pytorch",),
    description=__doc__,
    checks=(check(program_faithful, inputs=_INPUTS, limits=("export.onnx.parity_tolerance",)),),
    optional=_enabled,
)
