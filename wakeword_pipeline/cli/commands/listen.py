"""`wakeword listen`: find the wake word in what the microphone hears."""

import json
import sys
from pathlib import Path

from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.exported import STREAMING_FILE, STREAMING_SUFFIXES
from wakeword_core.runtime.microphone import microphone
from wakeword_core.runtime.streaming import StreamingModel
from wakeword_core.text import printable

_WIDTH = 40


def listen(
    path: Path,
    device: str | None,
    sensitivity: str | None,
    threshold: float | None,
    seconds: float | None,
    *,
    as_json: bool,
) -> None:
    """Print each detection until interrupted, or for so many seconds; a line of JSON each with `as_json`."""
    model = _model(path)
    detector = Detector(model, threshold, sensitivity)
    threshold = model.threshold_at(sensitivity, threshold)
    shows_bar = sys.stderr.isatty() and not as_json
    samples = 0
    number_or_name = int(device) if device is not None and device.isdecimal() else device
    with microphone(model.sample_rate, number_or_name) as blocks:
        print(
            printable(f"listening for {model.phrase!r} at threshold {threshold:.3f}; stop with Ctrl-C"),
            file=sys.stderr,
            flush=True,
        )
        for block in blocks:
            samples += len(block)
            for event in detector.process(block):
                if as_json:
                    line = {"time": round(event.time, 3), "score": round(event.score, 4), "label": event.label}
                    print(json.dumps(line))
                else:
                    print(f"\r{event.time:9.2f} s  {event.score:.3f}  {printable(event.label)}".ljust(_WIDTH + 20))
                sys.stdout.flush()
            if shows_bar:
                bar = "#" * round(_WIDTH * detector.score)
                print(f"\r{bar:<{_WIDTH}} {detector.score:.3f}", end="", file=sys.stderr, flush=True)
            if seconds is not None and samples >= seconds * model.sample_rate:
                return


def _model(path: Path) -> WakewordModel | StreamingModel:
    if path.is_dir():
        alone = not any((path / name).is_file() for name in WakewordModel.names) and (path / STREAMING_FILE).is_file()
    else:
        alone = path.name.endswith(STREAMING_SUFFIXES)
    return StreamingModel(path) if alone else WakewordModel(path)
