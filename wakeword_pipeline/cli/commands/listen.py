"""`wakeword listen`: find the wake word in what the microphone hears."""

import json
import logging
import sys
from pathlib import Path

from wakeword_core.runtime.levels import Watch
from wakeword_core.runtime.live import Detector, open_model
from wakeword_core.runtime.microphone import microphone
from wakeword_core.text import printable

_WIDTH = 40
log = logging.getLogger(__name__)


def listen(
    path: Path,
    device: str | None,
    sensitivity: str | None,
    threshold: float | None,
    seconds: float | None,
    *,
    alone: bool,
    as_json: bool,
) -> None:
    """Print each detection until interrupted, or for so many seconds; a line of JSON each with `as_json`."""
    model = open_model(path, alone=alone)
    detector = Detector(model, threshold, sensitivity)
    threshold = model.threshold_at(sensitivity, threshold)
    shows_bar = sys.stderr.isatty() and not as_json
    samples, watch = 0, Watch(model.sample_rate)
    number_or_name = int(device) if device is not None and device.isdecimal() else device
    with microphone(model.sample_rate, number_or_name) as blocks:
        print(
            printable(f"listening for {model.phrase!r} at threshold {threshold:.3f}; stop with Ctrl-C"),
            file=sys.stderr,
            flush=True,
        )
        for block in blocks:
            samples += len(block)
            if hint := watch.push(block):
                log.warning("the microphone: %s", hint)
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
