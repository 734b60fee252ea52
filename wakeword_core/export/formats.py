"""The table of formats: what each file of a model takes and is worth, from the figures of the stages that made them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from wakeword_core.evaluation.measure.wording import ABSENT, number, percent, rate
from wakeword_core.export.tflite.quantize import AFTERWARDS, TRAINED
from wakeword_core.runtime.exported import (
    FP16_FILE,
    INT8_FILE,
    JUDGE_FILE,
    MODEL_FILE,
    PROGRAM_FILE,
    SECOND_FOLDER,
    STREAMING_FILES,
)
from wakeword_core.stage_names import OPENWAKEWORD, StageName
from wakeword_core.store.artifacts import Artifact

Memory = Literal["arena", "tensors", "process"]
"""What memory is: what a microcontroller's runtime is given; what states and tensors take at once, computed from the
graph; or the most that a process had, with its libraries."""
COLUMNS = ("file", "kB", "memory, kB", "ms a second", "missed", "false alarms an hour", "remarks")
"""Headings of the table, in the order of `cells`."""
_KILO = 1e3
ALIKE = 1e-4
"""Scores that differ by no more than this decide alike: it is what an ONNX file may differ from torch by."""


@dataclass(frozen=True)
class OnTest:
    """Misses and false alarms on a test, with their intervals."""

    words: int
    misses: int
    frr: float
    frr_interval: tuple[float, float]
    false_alarm_count: int
    background_hours: float
    fah: float
    fah_interval: tuple[float, float]

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "OnTest | None":
        """Take them out of the figures of a stage; None where they are not all among them."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: figures[name] for name in names}) if set(names) <= figures.keys() else None


@dataclass(frozen=True)
class Format:
    """One row of the table; what is None was not measured."""

    file: str
    bytes: int | None = None
    memory_bytes: int | None = None
    memory: Memory = "tensors"
    cpu_ms_per_s: float | None = None
    """Milliseconds of one core for a second of sound, front end included."""
    tested: OnTest | None = None
    decides_as: str = ""
    """The file whose decisions this one was found to share, where it was not tested itself."""
    note: str = ""
    """What has to be known to read the row, such as how its scores differ from those of `model.onnx`."""


def formats(artifacts: Mapping[str, Artifact], metrics: Mapping[str, Any]) -> list[Format]:
    """Return a row for each file that the artifacts hold, by stage; `metrics` is the report's metrics.json."""
    return [
        *_exported(artifacts, metrics),
        *_small("int8_model", INT8_FILE, artifacts, metrics),
        *_small("fp16_model", FP16_FILE, artifacts, metrics),
        *_program(artifacts),
        *_judged(artifacts),
        *_microcontroller(artifacts),
        *_openwakeword(artifacts),
    ]


def _exported(artifacts: Mapping[str, Artifact], metrics: Mapping[str, Any]) -> Iterator[Format]:
    figures, stream = artifacts["onnx_model"].figures, OnTest.of(metrics["stream"])
    yield Format(MODEL_FILE, figures["bytes"], cpu_ms_per_s=_windows_ms(artifacts, "fp32"), tested=stream)
    yield from _streaming(MODEL_FILE, figures, figures.get("cpu_ms_per_s"), figures.get("device_ram_bytes"))


def _small(
    stage: StageName, file: str, artifacts: Mapping[str, Artifact], metrics: Mapping[str, Any]
) -> Iterator[Format]:
    figures, kind = artifacts[stage].figures, stage.removesuffix("_model")
    changed, windows = figures.get(f"changed_at_{metrics['operating_point']['name']}"), figures.get("windows")
    tested = OnTest.of(figures)
    decides_as = MODEL_FILE if changed == 0 and not tested else ""
    note = ""
    if changed is not None:
        note = (
            f"{changed:,} of {windows:,} windows decided otherwise than by {MODEL_FILE}, scores "
            f"{figures['mean_score_difference']:.0e} apart on average{_of_windows(figures)}"
        )
    size, cost = figures["bytes"], _windows_ms(artifacts, kind)
    yield Format(file, size, cpu_ms_per_s=cost, tested=tested, decides_as=decides_as, note=note)
    if kind == "int8":
        yield from _streaming(INT8_FILE, figures, figures.get("cpu_ms_per_s_int8"))


def _streaming(
    windows: str, figures: Mapping[str, Any], cost: float | None, memory: int | None = None
) -> Iterator[Format]:
    if "streaming_bytes" in figures:
        row = Format(STREAMING_FILES[windows], figures["streaming_bytes"], memory, cpu_ms_per_s=cost)
        yield _scored_as(row, windows, figures["streaming_parity"])


def _program(artifacts: Mapping[str, Artifact]) -> Iterator[Format]:
    if program := artifacts.get("torch_program"):
        figures = program.figures
        row = Format(PROGRAM_FILE, figures["bytes"], cpu_ms_per_s=figures["windows_ms_per_s"])
        yield _scored_as(row, MODEL_FILE, figures["parity"])


def _scored_as(row: Format, file: str, difference: float) -> Format:
    """Return the row of a file whose scores differ by at most so much from those of another one."""
    alike = file if difference <= ALIKE else ""
    return replace(row, decides_as=alike, note=f"scores within {difference:.0e} of {file}")


def _judged(artifacts: Mapping[str, Artifact]) -> Iterator[Format]:
    if judged := artifacts.get("judged_model"):
        note = f"with {MODEL_FILE}, which asks it at {percent(judged.figures['heard_share'])} of the background"
        yield Format(JUDGE_FILE, judged.files[JUDGE_FILE].size, tested=OnTest.of(judged.figures), note=note)
        if "second_bytes" in judged.figures:
            asked = f"after {JUDGE_FILE}, at {percent(judged.figures['second_heard_share'])} of the background"
            yield Format(f"{SECOND_FOLDER}/{JUDGE_FILE}", judged.figures["second_bytes"], note=asked)


def _microcontroller(artifacts: Mapping[str, Artifact]) -> Iterator[Format]:
    tflite = artifacts.get("tflite_model")
    if tflite is not None and tflite.figures.get("made"):
        figures = tflite.figures
        rates = figures["rates"][f"test_{figures['rule']}"]
        tested = OnTest.of({**rates, "false_alarm_count": rates["false_alarms"]})
        note = f"in 8-bit integers, by the rule of ESPHome{_on_device(figures)}"
        yield Format(figures["model"], figures["bytes"], figures["arena_bytes"], "arena", tested=tested, note=note)


def _of_windows(figures: Mapping[str, Any]) -> str:
    """Say what `_rounding` does of INT8, which is chosen by F1 on validation."""
    best: dict[str, float] = {}
    for one in figures.get("tried", ()):
        way = TRAINED if one["method"] == TRAINED else AFTERWARDS
        best[way] = max(best.get(way, 0.0), one["val_f1"])
    chosen = TRAINED if figures.get("method") == TRAINED else AFTERWARDS
    return _rounding(chosen, {way: f"F1 {f1:.4f}" for way, f1 in best.items()})


def _on_device(figures: Mapping[str, Any]) -> str:
    """Say what `_rounding` does of the file for microcontrollers, which is chosen by its streams of validation."""
    found = dict(figures.get("rounding", {}))
    chosen = found.pop("chosen", AFTERWARDS)
    counts = {
        way: f"{one['misses']:,} of {one['words']:,} words missed, {one['false_alarms']:,} false alarms"
        for way, one in found.items()
    }
    return _rounding(chosen, counts)


def _rounding(chosen: str, found: Mapping[str, str]) -> str:
    """Say which way of rounding was chosen by what both gave, of a network that was trained to be rounded."""
    if TRAINED not in found:
        return ""
    ways = {TRAINED: "as it was in training", AFTERWARDS: "by its ranges after training"}
    (other,) = ways.keys() - {chosen}
    return f"; rounded {ways[chosen]}, chosen on validation: {found[chosen]}, and {ways[other]} {found[other]}"


def _openwakeword(artifacts: Mapping[str, Artifact]) -> Iterator[Format]:
    if heads := artifacts.get(OPENWAKEWORD):
        tested, note = OnTest.of(heads.figures), "a head on the embedding that openWakeWord computes"
        for file, size in heads.figures["files"].items():
            yield Format(file, size, tested=tested, note=note)


def _windows_ms(artifacts: Mapping[str, Artifact], kind: str) -> float | None:
    """Return what a second of sound in windows takes; both small models have it beside that of the float model."""
    figures = artifacts["int8_model" if kind == "int8" else "fp16_model"].figures
    cost: float | None = figures.get(f"windows_ms_per_s_{kind}")
    return cost


def cells(row: Format) -> tuple[str, ...]:
    """Write a row for people; a dash is what was not measured, and what another file decides alike is that file's."""
    tested, untested = row.tested, f"as {row.decides_as}" if row.decides_as else ABSENT
    return (
        row.file,
        _kilobytes(row.bytes),
        _kilobytes(row.memory_bytes) + (f" ({row.memory})" if row.memory_bytes is not None else ""),
        number(row.cpu_ms_per_s, 1),
        untested if tested is None else f"{percent(tested.frr)} ({_interval(tested.frr_interval, percent)})",
        untested if tested is None else f"{rate(tested.fah)} ({_interval(tested.fah_interval, rate)})",
        row.note,
    )


def _kilobytes(size: int | None) -> str:
    return ABSENT if size is None else f"{size / _KILO:,.0f}"


def _interval(interval: tuple[float, float], written: Callable[[float], str]) -> str:
    low, high = map(written, interval)
    return f"{low} to {high}"
