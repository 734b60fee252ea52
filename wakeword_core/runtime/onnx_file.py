"""An ONNX file of anyone: read once, looked through before a runtime sees it, and tried under limits before it is used.

What a file may not do: name bytes of other files, use operators that the exporter never writes (a loop can run for
ever), or make more numbers than a wake-word model has use for. Needs protobuf, which onnxruntime is built on, and the
few fields of the format that matter here; everything is decided about the same bytes that a session is made from.
"""

import hashlib
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config import Device
from wakeword_core.errors import ArtifactError, MissingDependencyError, reason_of

if TYPE_CHECKING:
    import numpy.typing as npt

log = logging.getLogger(__name__)

OPERATORS = frozenset((
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "Cos", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Elu", "Equal", "Erf",
    "Exp", "Expand", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "Gelu", "Gemm", "GlobalAveragePool",
    "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "If", "InstanceNormalization", "LSTM",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min",
    "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "RNN", "Range", "Reciprocal",
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round", "ScatterND", "Selu", "Shape", "Sigmoid", "Sign",
    "Sin", "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose",
    "Unsqueeze", "Where",
))  # fmt: skip
"""What the exporter writes, and plain arithmetic that another version of it may: nothing that repeats."""
QUANTIZED_OPERATORS = frozenset(("DynamicQuantizeLSTM",))
"""Those of onnxruntime's own, in the domain `com.microsoft`."""
_DOMAINS = {"": OPERATORS, "ai.onnx": OPERATORS, "com.microsoft": QUANTIZED_OPERATORS}
_MAX_MODEL_BYTES = 256 * 2**20
_MAX_NODES = 20_000
_MAX_DEPTH = 2  # a graph and its branches
_MAX_VALUES = 2**26
_MAX_CARD_BYTES = 16 * 2**20
_LIMITING = threading.Lock()
_SILENT = 4  # errors are raised as well
_TRIAL_BYTES, _TRIAL_SECONDS = 512 * 2**20, 20.0
"""Memory and time of a trial: far more than any model of ours takes for a window or a second of sound."""
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@dataclass(frozen=True)
class OnnxFile:
    """The bytes of a file that passed, and the entries of its metadata."""

    path: Path
    data: bytes
    metadata: Mapping[str, str]
    _branches: tuple[bytes, ...] = ()
    """What a runtime computes of branches when it loads the model, as models of their own."""

    @property
    def sha256(self) -> str:
        """Return the hash (hex) of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def session(self, threads: int = 1, device: Device = "cpu") -> Any:
        """Return a session of onnxruntime; ArtifactError if it cannot run the model.

        One on `cuda` is on the CPU where there is no CUDA, which the log says.
        """
        session = self._on_cuda(threads) if device == "cuda" else None
        return self._opened(self.data, _options(threads)) if session is None else session

    def _on_cuda(self, threads: int) -> Any | None:
        """Return a session on the GPU; None, with the reason in the log, where onnxruntime cannot use one."""
        why = "it was installed without CUDA: put onnxruntime-gpu in its place"
        if _CUDA in _onnxruntime().get_available_providers():
            try:
                session = self._opened(self.data, _options(threads), _CUDA, _CPU)
            except ArtifactError as error:
                why = reason_of(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            else:
                if session.get_providers()[0] == _CUDA:
                    log.info("%s runs on the GPU", self.path)
                    return session
                why = "it found no GPU, or no driver or library of NVIDIA's for it"
        log.warning("%s runs on the CPU, since onnxruntime cannot use CUDA here (%s)", self.path, why)
        return None

    def trial(self) -> Any:
        """Return a session that computes nothing while it is loaded, and whose runs have little memory.

        A runtime that later computes constants while it loads the model does no more than a first run of this does, or
        than was done here for the branches, of which a run takes only one.
        """
        for constants in self._branches:
            self.first_run(self._opened(constants, _limited()), {})
        return self._opened(self.data, _limited())

    def first_run(self, trial: Any, inputs: Mapping[str, "npt.NDArray[Any]"]) -> dict[str, "npt.NDArray[Any]"]:
        """Run the session of a trial under a limit of time, and return its outputs; ArtifactError where it fails."""
        options = _onnxruntime().RunOptions()
        options.log_severity_level = _SILENT
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        timer = threading.Timer(_TRIAL_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        names = [output.name for output in trial.get_outputs()]
        try:
            return dict(zip(names, trial.run(names, dict(inputs), options), strict=True))
        except Exception as error:
            if "bfc_arena" in str(error):
                what = f"needs more than {_TRIAL_BYTES // 2**20} MB for a first run"
            elif options.terminate:
                what = f"takes more than {_TRIAL_SECONDS:g} s for a first run"
            else:
                what = f"fails on a first run ({reason_of(error)})"
            raise ArtifactError(f"{self.path} {what}; it is not one of ours") from error
        finally:
            timer.cancel()

    def _opened(self, data: bytes, options: Any, *providers: str) -> Any:
        onnxruntime = _onnxruntime()
        try:
            return onnxruntime.InferenceSession(
                data,
                options,
                providers=list(providers or (_CPU,)),
                enable_fallback=False,  # which prints
            )
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise ArtifactError(f"{self.path} is not an ONNX model that can run here ({reason_of(error)})") from error


def read_onnx(path: Path, more: Set[str] = frozenset()) -> OnnxFile:
    """Read a model file; ArtifactError if it is too large, no ONNX model, or does what none of ours does.

    Models of another kind may use `more` operators, which must not repeat anything either.
    """
    if not path.is_file() and path.exists():  # a pipe would be waited for, a device read without end
        raise ArtifactError(f"{path} is no ordinary file, and so no model")
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error
    if len(data) > _MAX_MODEL_BYTES:
        raise ArtifactError(
            f"{path} has more than the {_MAX_MODEL_BYTES // 2**20} MB that a wake-word model may have; it is not ours"
        )
    return parse_onnx(data, path, more)


def parse_onnx(data: bytes, path: Path, more: Set[str] = frozenset()) -> OnnxFile:
    """Look through the bytes of a model file as `read_onnx` does."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = _message("Model").FromString(data)
    except DecodeError as error:
        raise ArtifactError(f"{path} is not an ONNX model ({reason_of(error)})") from error
    if not model.graph.node:
        raise ArtifactError(f"{path} is not an ONNX model: it has no graph")
    if fault := _fault(model, more):
        raise ArtifactError(f"{path} {fault}; no model of ours does, so it is not run")
    return OnnxFile(path, data, _metadata(model, path), tuple(_computed_in_branches(model)))


def _metadata(model: Any, path: Path) -> dict[str, str]:
    if sum(len(entry.value) for entry in model.metadata_props) > _MAX_CARD_BYTES:
        raise ArtifactError(f"the cards in {path} have more than {_MAX_CARD_BYTES // 2**20} MB; it is not one of ours")
    try:
        return {entry.key.decode(): entry.value.decode() for entry in model.metadata_props}
    except UnicodeDecodeError as error:
        raise ArtifactError(f"the metadata of {path} are not text ({error.reason}); export the model again") from error


def _fault(model: Any, more: Set[str]) -> str:
    """Return what a model does that none of ours does, or nothing."""
    if model.functions or model.training_info:
        return "has functions or training steps of its own"
    nodes = 0
    for graph, depth, _ in _graphs(model.graph):
        nodes += len(graph.node)
        if depth > _MAX_DEPTH or nodes > _MAX_NODES:
            return f"has more than {_MAX_NODES:,} nodes, or branches within branches"
        if graph.sparse_initializer or any(_sparse(node) for node in graph.node):
            return "has sparse constants"
        for tensor in (*graph.initializer, *_tensors(graph)):
            if tensor.external_data or tensor.data_location:
                return f"takes the numbers of {_text(tensor.name)!r} from another file"
            if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > _MAX_VALUES:
                return f"has a constant of the shape {[*tensor.dims][:8]}"
        for node in graph.node:
            domain, operator = _text(node.domain), _text(node.op_type)
            if operator not in _DOMAINS.get(domain, ()) and (domain or operator not in more):
                return f"uses the operator {f'{domain}.{operator}'.removeprefix('.')!r}"
    return ""


def _graphs(graph: Any, depth: int = 1, outer: tuple[Any, ...] = ()) -> Iterator[tuple[Any, int, tuple[Any, ...]]]:
    """Yield a graph and those in it, each with its depth and the constants around it."""
    yield graph, depth, outer
    for node in graph.node:
        for attribute in node.attribute:
            inner = (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
            for branch in inner:
                yield from _graphs(branch, depth + 1, (*outer, *graph.initializer))


def _tensors(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def _sparse(node: Any) -> bool:
    return any(attribute.sparse_tensor or attribute.sparse_tensors for attribute in node.attribute)


def _computed_in_branches(model: Any) -> Iterator[bytes]:
    """Yield, for each branch, a model of the nodes that depend on constants alone, if there are any."""
    for graph, depth, outer in _graphs(model.graph):
        if depth == 1:
            continue
        constants = {tensor.name for tensor in (*outer, *graph.initializer)}
        nodes, known = [], set(constants)
        for node in graph.node:
            branches = any(attribute.HasField("g") for attribute in node.attribute)
            if not branches and {name for name in node.input if name} <= known:
                nodes.append(node)
                known.update(node.output)
        if not nodes:
            continue
        branch_model = _message("Model")(ir_version=model.ir_version, opset_import=model.opset_import)
        used = {name for node in nodes for name in node.input}
        branch_model.graph.name = b"constants"
        branch_model.graph.node.extend(nodes)
        branch_model.graph.initializer.extend(
            {tensor.name: tensor for tensor in (*outer, *graph.initializer) if tensor.name in used}.values()
        )
        for node in nodes:
            for name in node.output:
                branch_model.graph.output.add().name = name
        yield branch_model.SerializeToString()


def _text(name: bytes) -> str:
    return name.decode(errors="replace")[:100]


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("running a model needs onnxruntime: pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _options(threads: int) -> Any:
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.load_model_format", "ONNX")  # of bytes that are another format, too
    return options


def _limited() -> Any:
    """Return options of a session that computes nothing while it is loaded, and has `_TRIAL_BYTES` for its runs."""
    with _LIMITING:
        _limit_memory()
    options = _options(threads=1)
    options.graph_optimization_level = _onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


@cache
def _limit_memory() -> None:
    """Give onnxruntime the one arena that sessions of trials use, once a process."""
    onnxruntime = _onnxruntime()
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"max_mem": _TRIAL_BYTES, "arena_extend_strategy": 1})  # as much as is asked for
    onnxruntime.create_and_register_allocator(memory, arena)


_FORMAT = {
    "Entry": "key:1 value:2",
    "Opset": "domain:1 version:2:int",
    "Tensor": "dims:1:ints name:8 external_data:13:texts data_location:14:int",
    "Attribute": "name:1 t:5:Tensor g:6:Graph tensors:10:Tensor* graphs:11:Graph* sparse_tensor:22 "
    "sparse_tensors:23:texts",
    "Node": "input:1:texts output:2:texts op_type:4 attribute:5:Attribute* domain:7",
    "Value": "name:1",
    "Graph": "node:1:Node* name:2 initializer:5:Tensor* output:12:Value* sparse_initializer:15:texts",
    "Model": "ir_version:1:int graph:7:Graph opset_import:8:Opset* metadata_props:14:Entry* training_info:20:texts "
    "functions:25:texts",
}
"""Messages of onnx.proto: fields with their number and type (bytes if none); those not named here are kept unread."""


@cache
def _message(name: str) -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    described = descriptor_pb2.FileDescriptorProto(name="wakeword_onnx.proto", package="wakeword_onnx", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message_name, fields in _FORMAT.items():
        message = described.message_type.add(name=message_name)
        for field in fields.split():
            field_name, number, kind = (*field.split(":"), "text")[:3]
            repeated = kind.endswith(("*", "s"))
            added = message.field.add(name=field_name, number=int(number))
            added.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind.removesuffix("s") in ("int", "text"):
                added.type = kinds.TYPE_INT64 if kind.startswith("int") else kinds.TYPE_BYTES
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".wakeword_onnx.{kind.removesuffix('*')}"
    pool = descriptor_pool.DescriptorPool()
    file = pool.Add(described) or pool.FindFileByName(described.name)
    return message_factory.GetMessageClass(file.message_types_by_name[name])
