"""`wakeword listen`: find the wake word in what the microphone hears."""

import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword_core.config import KeepConfig, ServingConfig
from wakeword_core.errors import MissingDependencyError
from wakeword_core.python import install_command
from wakeword_core.runtime.captures import Keeper, StreamKeeper
from wakeword_core.runtime.detector import Detection
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.runtime.levels import Watch
from wakeword_core.runtime.live import Detector, open_model
from wakeword_core.runtime.microphone import microphone
from wakeword_core.runtime.model import AnyModel
from wakeword_core.text import printable

if TYPE_CHECKING:
    from wakeword_core.serving.remote import Absent, RemoteJudge

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
    judge_url: str | None = None,
    judge_absent: "Absent" = "accept",
    keep: Path | None = None,
) -> None:
    """Print each detection until interrupted, or for so many seconds; a line of JSON each with `as_json`.

    With the address of a server, those that it confirms; `judge_absent` decides where it does not answer.
    The sound around detections, and around what nearly was one, goes to the folder `keep`.
    """
    model = open_model(path, alone=alone, second_elsewhere=judge_url is not None)
    if isinstance(model, JudgedModel) and model.judge.facts.second and not model.second:
        log.info("The second judge is not asked here: %s has to have it.", judge_url)
    detector = Detector(model, threshold, sensitivity)
    threshold = model.threshold_at(sensitivity, threshold)
    judge = None if judge_url is None else _judge(judge_url, model, judge_absent)
    keeper = None
    if keep is not None:
        decided_after = None if judge is None else judge.decided_after
        keeper = StreamKeeper(Keeper(keep, KeepConfig()), model, threshold, decided_after=decided_after)
    shows_bar = sys.stderr.isatty() and not as_json
    samples, watch = 0, Watch(model.sample_rate)

    def tell(events: list[Detection]) -> None:
        _print(events, as_json=as_json)
        if keeper:
            for event in events:
                keeper.decide(event, True)

    with microphone(model.sample_rate, device) as blocks:
        print(
            printable(f"listening for {model.phrase!r} at threshold {threshold:.3f}; stop with Ctrl-C"),
            file=sys.stderr,
            flush=True,
        )
        try:
            for block in blocks:
                samples += len(block)
                if hint := watch.push(block):
                    log.warning("the microphone: %s", hint)
                events = detector.process(block)
                tell(events if judge is None else judge.push(block, events))
                if keeper:
                    keeper.push(block, detector.times, detector.scores, events)
                if shows_bar:
                    bar = "#" * round(_WIDTH * detector.score)
                    print(f"\r{bar:<{_WIDTH}} {detector.score:.3f}", end="", file=sys.stderr, flush=True)
                if seconds is not None and samples >= seconds * model.sample_rate:
                    break
        finally:  # also after Ctrl-C, which is how it is stopped
            tell([] if judge is None else judge.finish())
            if keeper:
                keeper.finish()


def _judge(url: str, model: AnyModel, absent: "Absent") -> "RemoteJudge":
    """Make the judge at an address, whose token is in the same variable as the server's."""
    try:
        from wakeword_core.serving.client import JudgeClient
        from wakeword_core.serving.network import read_token
        from wakeword_core.serving.remote import ANSWER_SECONDS, RemoteJudge
    except ImportError as error:
        raise MissingDependencyError(f"a judge on a server needs {error.name}: {install_command('serve')}") from error
    client = JudgeClient(url, read_token(ServingConfig().token_variable), ANSWER_SECONDS)
    judge = RemoteJudge(client, model.labels[1:], model.sample_rate, absent)
    judge.begin()
    return judge


def _print(events: Iterable[Detection], *, as_json: bool) -> None:
    for event in events:
        if as_json:
            line = {"time": round(event.time, 3), "score": round(event.score, 4), "label": event.label}
            print(json.dumps(line))
        else:
            print(f"\r{event.time:9.2f} s  {event.score:.3f}  {printable(event.label)}".ljust(_WIDTH + 20))
        sys.stdout.flush()
