"""The trained model as a program of `torch.export`: features in, calibrated scores out, and no pickle anywhere.

`torch.export.load` runs code that a file brings with it: pickles, compiled libraries, and expressions, which it
evaluates. So nothing is loaded here but archives whose parts are all of a known kind and whose texts are plain names.
"""

import contextlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.export.cost import windows_ms_per_second
from wakeword_core.export.onnx_export import in_torch, quietly
from wakeword_core.files import canonical_json, parse_json, replacing
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import CARD_KEY, PROGRAM_FILE

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from wakeword_core.models.scoring import ScoringModel

CARD_ENTRY = f"{CARD_KEY}.json"
"""The extra file in the archive that holds the card that the runtime reads."""
_EXAMPLE_BATCH = 2
_MAX_BYTES = 256 * 2**20
_ROOT = "archive/"
"""The folder in an archive that is written without a path."""
_WEIGHTS, _CONSTANTS = (f"data/{kind}/model_{kind}_config.json" for kind in ("weights", "constants"))
_PROGRAM, _EXAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_PARTS = re.compile(
    r"\.data/(?:version|serialization_id)|archive_format|archive_version|byteorder|data/weights/weight_\d+"
    r"|data/constants/tensor_\d+|" + "|".join(map(re.escape, (_WEIGHTS, _CONSTANTS, _PROGRAM, _EXAMPLES)))
    + "|" + re.escape(f"extra/{CARD_ENTRY}")
)  # fmt: skip
_NAME = re.compile(r"[\w.+\-\[\]]*")
_EXPRESSION = re.compile(r"(?:Symbol\('s\d+', positive=True, integer=True\)|Integer\(-?\d+\)|Mul|Add|[(), ])+")
"""A length of a batch, or a multiple of it."""
_OPERATORS = "torch.ops.aten."

Windows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class ProgramParity:
    """The largest differences of a score of the program's."""

    from_torch: float
    from_onnx: float

    @property
    def largest(self) -> float:
        """Return the larger of both."""
        return max(self.from_torch, self.from_onnx)


def make_program(model: "ScoringModel", onnx_path: Path, windows: npt.NDArray[np.float32], out: Path) -> dict[str, Any]:
    """Write `out/model.pt2` of the network that `onnx_path` was exported from; returns its figures.

    `windows` [n, bands, frames] are those on which scores are compared.
    """
    onnx, path = WakewordModel(onnx_path), out / PROGRAM_FILE
    size = export_program(model, onnx.card, path)
    with _one_thread():
        cost = windows_ms_per_second(ProgramModel(onnx_path, path))
    return {
        "bytes": size,
        "parity": program_parity(model, onnx_path, path, windows).from_onnx,
        "windows_ms_per_s": cost,
    }


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def program_parity(
    model: "ScoringModel", onnx_path: Path, program: Path, windows: npt.NDArray[np.float32]
) -> ProgramParity:
    """Compare a program's scores of windows [n, bands, frames] with the network's and the exported model's."""
    scores = ProgramModel(onnx_path, program).score_windows(windows)
    expected = in_torch(model, model, windows), WakewordModel(onnx_path).score_windows(windows)
    return ProgramParity(*(float(np.abs(scores - other).max(initial=0.0)) for other in expected))


def export_program(model: "ScoringModel", card: Mapping[str, Any], path: Path) -> int:
    """Write a program that maps float32 windows [batch, bands, frames] to scores [batch, classes]; returns its bytes.

    The batch may be of any size. The card is in the archive beside the program. The same model gives the same bytes
    with the same version of torch: where the code lies and an example of the input are left out of the file.
    """
    import torch

    program = _traced(model.eval().cpu())
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for place in ("stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack"):
                node.meta.pop(place, None)
    program.example_inputs = None  # else they are pickled
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={CARD_ENTRY: canonical_json(dict(card))})
    with replacing(path) as part:
        part.write_bytes(archive.getvalue())
    return path.stat().st_size


def _traced(model: "ScoringModel") -> "ExportedProgram":
    import torch

    example = torch.zeros(_EXAMPLE_BATCH, model.n_mels, model.frames)
    with quietly():
        return torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def load_program(path: Path) -> "torch.nn.Module":
    """Return the module of a program; ArtifactError for a file that is no program as `export_program` writes it."""
    import torch

    archive = checked_program(path)
    try:
        with quietly():
            return torch.export.load(archive).module()
    except Exception as error:  # torch raises whatever it meets in a file that is damaged
        raise ArtifactError(f"{path} cannot be loaded ({reason_of(error)}); build it again") from error


class ProgramModel(WakewordModel):
    """An exported model whose network is the program that was made of the same weights."""

    streaming = None

    def __init__(self, onnx_path: Path, program: Path) -> None:
        super().__init__(onnx_path)
        self._program = load_program(program)

    def score_windows(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Map windows of features float32 [n, bands, window_frames] to class scores float32 [n, classes]."""
        import torch

        with torch.inference_mode():
            scores = self._program(torch.from_numpy(np.ascontiguousarray(windows, np.float32))).numpy()
        return self.checked(scores, len(windows))


def checked_program(path: Path) -> io.BytesIO:
    """Read an archive, and return one of the same parts; ArtifactError where one of them could bring code with it."""
    try:
        parts = _parts(path)
        for config in (_WEIGHTS, _CONSTANTS):
            described = parse_json(parts[config])
            if any(one["use_pickle"] is not False for one in described["config"].values()):
                raise ValueError("it holds pickles")
            _require_plain(described)
        if parts[_EXAMPLES]:
            raise ValueError("it holds an example of its input, which is a pickle")
        program = parse_json(parts[_PROGRAM])
        _require_plain(program)
        if any(not node["target"].startswith(_OPERATORS) for node in program["graph_module"]["graph"]["nodes"]):
            raise ValueError("it calls something that is no operator of torch")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is no program of this project ({reason_of(error)}); it is not loaded") from error
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:  # readers differ in what they take from a file with two tables
        for name, data in parts.items():
            written.writestr(_ROOT + name, data)
    archive.seek(0)
    return archive


def _parts(path: Path) -> dict[str, bytes]:
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it is no file of at most {_MAX_BYTES // 2**20} MB")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename.removeprefix(_ROOT) for entry in entries]
        if strange := [name for name in names if not _PARTS.fullmatch(name)]:
            raise ValueError(f"it holds {strange[0]!r}")
        if len(set(names)) < len(names) or sum(entry.file_size for entry in entries) > _MAX_BYTES:
            raise ValueError("it holds two parts of one name, or too many bytes")
        return {name: archive.read(entry) for name, entry in zip(names, entries, strict=True)}


def _require_plain(value: Any) -> None:
    """Raise ValueError unless every text in a JSON value is a name, or says how long a batch is."""
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            _require_plain(part)
    elif isinstance(value, list):
        for part in value:
            _require_plain(part)
    elif isinstance(value, str) and not (_NAME.fullmatch(value) or _EXPRESSION.fullmatch(value)):
        if not value.startswith('[1, {"'):
            raise ValueError(f"it holds the text {value[:40]!r}")
        _require_plain(parse_json(value))  # how arguments are nested
