"""The command that listens to the microphone."""

import json
import sys
from pathlib import Path

from wakeword_core.runtime import Detector, WakewordModel
from wakeword_core.runtime.exported import STREAMING_FILE, STREAMING_SUFFIXES
from wakeword_core.runtime.microphone import microphone
from wakeword_core.runtime.streaming import StreamingModel

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
    counts = model.threshold_at(sensitivity, threshold)
    shows = sys.stderr.isatty() and not as_json
    heard = 0
    with microphone(model.sample_rate, _device(device)) as blocks:
        print(
            f"listening for {model.phrase!r} at threshold {counts:.3f}; stop with Ctrl-C", file=sys.stderr, flush=True
        )
        for block in blocks:
            heard += len(block)
            for event in detector.process(block):
                if as_json:
                    found = {"time": round(event.time, 3), "score": round(event.score, 4), "label": event.label}
                    print(json.dumps(found))
                else:
                    print(f"\r{event.time:9.2f} s  {event.score:.3f}  {event.label}".ljust(_WIDTH + 20))
                sys.stdout.flush()
            if shows:
                bar = "#" * round(_WIDTH * detector.score)
                print(f"\r{bar:<{_WIDTH}} {detector.score:.3f}", end="", file=sys.stderr, flush=True)
            if seconds is not None and heard >= seconds * model.sample_rate:
                return


def _model(path: Path) -> WakewordModel | StreamingModel:
    if path.is_dir():
        alone = not any((path / name).is_file() for name in WakewordModel.names) and (path / STREAMING_FILE).is_file()
    else:
        alone = path.name.endswith(STREAMING_SUFFIXES)
    return StreamingModel(path) if alone else WakewordModel(path)


def _device(given: str | None) -> str | int | None:
    return int(given) if given is not None and given.isdecimal() else given
