"""What every file of a model takes and is worth, beside the files of the open engines that have the same wake word.

    python benchmarks/devices.py --home HOME --config CONFIG.yaml                       as the build measured it
    python benchmarks/devices.py --home HOME --config CONFIG.yaml --audio-root FOLDER   all anew, with the other engines

The first prints the table of the delivered bundle's card. The second runs the bundle's files and the models that come
with pyopen-wakeword and pymicro-wakeword, in one process and on one thread, over the same test audio and by the same
rules as `peers.py`: in turns for processor time, and each with the threshold that gives the fewest misses at a rate of
false alarms on these very streams. Memory is the least with which TFLite Micro runs a file (arena), or the most that a
process of Python had which loaded the file and heard some seconds (process). A dash was not measured.

Needs `pip install -e '.[bench]'`, and `esp` for models of microcontrollers; nothing is downloaded. The last line of
standard output is one JSON object.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import peers
from peer_engines import engines
from rich.table import Table
from streaming import CHUNKS_MS, Side

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, MissingDependencyError
from wakeword_core.export.formats import COLUMNS, Format, cells
from wakeword_core.export.tflite.runtimes import least_arena
from wakeword_core.files import as_type, read_json
from wakeword_core.graph.stages.bundle import CARD_JSON
from wakeword_core.listeners.listener import Listener
from wakeword_core.listeners.opening import open_listener
from wakeword_core.listeners.peers import MicroWakeWord, OpenWakeWord
from wakeword_core.progress import Progress
from wakeword_core.registry.history import delivered_bundle
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import MODEL_FILE, OPENWAKEWORD_FOLDER, STREAMING_FILES

FAH_TARGETS = (0.5, 2.0)
SNR_DB = 10.0
HEARD_SECONDS = 2.0
_COSTS = COLUMNS.index("ms a second") + 1
"""Columns of the table of formats that say what a file takes."""
_WINDOWS = {streaming: windows for windows, streaming in STREAMING_FILES.items()}


def rows_of(bundle: Path) -> list[Format]:
    """The table of formats in the card of a bundle."""
    try:
        return as_type(list[Format], read_json(bundle / CARD_JSON)["formats"])
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{bundle / CARD_JSON} has no table of formats; build the bundle again") from error


def with_memory(row: Format, engine: Listener) -> Format:
    """The row with the memory that the engine's files take, where that can be told for them alone."""
    if isinstance(engine, MicroWakeWord):
        try:
            return replace(row, memory_bytes=least_arena(engine.files[0]), memory="arena")
        except MissingDependencyError:
            return row
    if engine.name == OpenWakeWord.name:
        side = Side(engine.name, "")
    elif loaded := _loaded_alone(engine.files):
        side = Side(engine.name, str(loaded))
    else:
        return row
    try:
        peak_mb = side.round(CHUNKS_MS[0], HEARD_SECONDS)["peak_mb"]
    finally:
        side.close()
    return replace(row, memory_bytes=round(peak_mb * 2**20), memory="process")


def _loaded_alone(files: Sequence[Path]) -> Path | None:
    """The model to load so that of these files exactly one is run; None where there is none such."""
    (file, *more) = files
    beside = STREAMING_FILES.get(file.name)  # which is run in place of it where it is there
    if more or file.suffix != ".onnx" or (beside and file.with_name(beside).is_file()):
        return None
    return file.with_name(_WINDOWS.get(file.name, file.name))


def compare(home: Path, config: Config, bundle: Path, chosen: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Run the files of a bundle and the other engines over the test; the JSON object."""
    model = WakewordModel(bundle / MODEL_FILE)
    # of openWakeWord's files those run that pyopen-wakeword takes; the others are the same in ONNX
    files = [
        row.file for row in rows_of(bundle) if not row.file.startswith(OPENWAKEWORD_FOLDER) or ".tflite" in row.file
    ]
    everybody = [open_listener(str(bundle / file), model.detector, file) for file in files]
    everybody += engines(bundle / MODEL_FILE, config)[1:]
    audio = peers.shards_of_model(model, home, ("test",))
    streams = peers.stream_config(config, chosen.snr, chosen.minutes)
    scores, found = peers.listen(everybody, audio, streams, FAH_TARGETS, chosen.minutes, progress)
    rows = []
    for engine in everybody:
        figures = found[engine.name]
        row = Format(engine.name, figures["model_bytes"], cpu_ms_per_s=figures["cpu_ms_per_s"])
        rows.append({**asdict(with_memory(row, engine)), "version": engine.version, "points": figures["points"]})
    return {
        "phrase": config.phrase,
        "words": scores.words,
        "background_hours": round(scores.background_hours, 4),
        "snr_db": chosen.snr,
        "confidence": config.evaluation.operating_points.confidence,
        "rows": rows,
    }


def table(report: dict[str, Any]) -> Table:
    """The report for people."""
    title = f'"{report["phrase"]}"'
    if "words" in report:
        title += (
            f": {report['words']} words at {report['snr_db']:g} dB, {report['background_hours']:.2f} h of background"
        )
    shown = Table(title=title, title_justify="left", show_lines=True)
    measured = [f"missed at {target:g}\nfalse alarms an hour" for target in FAH_TARGETS]
    headings = [*COLUMNS[:_COSTS], *measured] if "words" in report else COLUMNS
    for index, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if 0 < index < _COSTS else "left")
    for row in report["rows"]:
        written = cells(as_type(Format, {name: row[name] for name in Format.__dataclass_fields__}))
        if "words" in report:
            points = (peers.cell(row["points"][f"{target:g}"]) for target in FAH_TARGETS)
            shown.add_row(*written[:_COSTS], *points)
        else:
            shown.add_row(*written)
    return shown


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="home in which the model was built")
    parser.add_argument(
        "--config", type=Path, default=peers.EXAMPLE, help="configuration [default: examples/alexa.yaml]"
    )
    parser.add_argument("--audio-root", type=Path, help="what ${AUDIO_ROOT} stands for in it; measures everything anew")
    parser.add_argument("--snr", type=float, default=SNR_DB, help=f"noise under the words, in dB [default: {SNR_DB:g}]")
    parser.add_argument("--minutes", type=float, help="so much of each kind of audio at most, for a quick look")
    chosen = parser.parse_args(given)
    if chosen.minutes is not None and not chosen.minutes > 0:
        parser.error("--minutes must be above 0")
    return chosen


def run(given: Sequence[str] | None, progress: Progress) -> dict[str, Any]:
    """Read the table, or measure it; the JSON object."""
    chosen = _arguments(given)
    home = chosen.home.resolve()
    # where nothing is measured, no recording is read
    os.environ["AUDIO_ROOT"] = str((chosen.audio_root or home).resolve())
    config = load_config(chosen.config)
    bundle = delivered_bundle(home, config).path
    if chosen.audio_root is None:
        report = {"phrase": config.phrase, "rows": [asdict(row) for row in rows_of(bundle)]}
    else:
        report = compare(home, config, bundle, chosen, progress)
    return {"name": "devices", **report}


def remarks(report: dict[str, Any]) -> list[str]:
    """What has to be known to read the table right."""
    if "words" in report:
        return [
            f"In brackets: {100 * report['confidence']:g} % intervals (misses: Wilson; false alarms: exact Poisson)."
        ]
    return ["The figures of the build; with --audio-root all are measured anew, beside other engines."]


def main(given: Sequence[str] | None = None) -> int:
    """Run, and show what was found; the exit status."""
    return peers.show("devices", lambda progress: run(given, progress), table, remarks)


if __name__ == "__main__":
    sys.exit(main())
