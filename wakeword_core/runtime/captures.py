"""Sound that is kept while a model listens: around wake words, and around what nearly was one.

Nothing is kept unless somebody names a folder. In it each capture is a FLAC file, and beside it a JSON file that says
what was heard; only the owner can read them. The folder is bounded in bytes, in days and in captures an hour. Several
servers may use one folder, and a person may delete files in it at any time: what is there is looked at before each
capture is written.
"""

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from wakeword_core.audio import Pcm
from wakeword_core.config import KeepConfig
from wakeword_core.config.serving import CAPTURE_FACTS, CAPTURE_SOUND
from wakeword_core.errors import DataError, reason_of
from wakeword_core.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    read_json,
    remove_abandoned_parts,
    replacing,
    require_writable,
    write_json,
)
from wakeword_core.runtime.around import Around
from wakeword_core.runtime.detector import Detection, StreamingDetector, wake_scores
from wakeword_core.runtime.model import AnyModel
from wakeword_core.runtime.streaming import Floats, Times

log = logging.getLogger(__name__)

Kind = Literal["event", "refused", "near_miss"]
"""A wake word; what the model called one and its judge did not; and what came near the threshold only."""

_FORMAT = 1
_TIME = "%Y-%m-%dT%H-%M-%S.%f"
_MEGABYTE = 1e6
_HOUR = timedelta(hours=1)
_MOST_FACTS_BYTES = 1 << 16


@dataclass(frozen=True)
class Capture:
    """One capture in a folder."""

    sound: Path
    kept: datetime
    kind: Kind
    bytes: int

    @property
    def facts(self) -> Path:
        """The file that says what was heard."""
        return self.sound.with_suffix(CAPTURE_FACTS)

    def delete(self) -> None:
        """Delete its files, as far as they are there; the sound first."""
        self.sound.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)


def captures_in(folder: Path) -> list[Capture]:
    """List the captures of a folder, oldest first; other files are none of them, and neither are links.

    One of which only the sound or only the facts are left, as after a kill, is one too.
    """
    return sorted(_listed(folder), key=lambda capture: capture.sound.name)


def read_facts(capture: Capture) -> dict[str, Any]:
    """Return what is written of a capture; nothing where that is gone or is no JSON object of a few kilobytes."""
    with suppress(OSError, ValueError):
        if capture.facts.lstat().st_size <= _MOST_FACTS_BYTES:
            facts = read_json(capture.facts)
            return facts if isinstance(facts, dict) else {}
    return {}


def _listed(folder: Path) -> Iterator[Capture]:
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name, ending = os.path.splitext(entry.name)
            with suppress(FileNotFoundError):  # deleted meanwhile
                if ending in (CAPTURE_SOUND, CAPTURE_FACTS) and entry.is_file(follow_symlinks=False):
                    sizes[name] = sizes.get(name, 0) + entry.stat(follow_symlinks=False).st_size
    for name, size in sizes.items():
        time, _, kind = name.partition("_")
        named: Kind | None = next((one for one in get_args(Kind) if one.replace("_", "-") == kind), None)
        with suppress(ValueError):
            kept = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
            if named and kept.strftime(_TIME) == time:
                yield Capture(folder / f"{name}{CAPTURE_SOUND}", kept, named, size)


class Keeper:
    """Writes captures to a folder within its bounds; several threads may use one."""

    def __init__(self, folder: Path, settings: KeepConfig, now: Callable[[], datetime] | None = None) -> None:
        """Make the folder, private where it was not there, and tidy it; DataError if nothing can be kept in it."""
        self.settings = settings
        self._folder = folder
        self._now = now or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self._failed = False
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            require_writable(folder)
            remove_abandoned_parts(folder)
            self._tidied = self._now()
            self._delete_old()
        except OSError as error:
            raise DataError(f"nothing can be kept in {folder} ({error.strerror}); name another folder") from error

    def keep(self, pcm: Pcm, sample_rate: int, kind: Kind, word: str, facts: dict[str, Any], ago: float) -> Path | None:
        """Write int16 [samples] of what was heard `ago` seconds ago; None where the hour has had its captures.

        What is too old, or too much, is deleted first. A full disk is told of in the log, once, and is no error.
        """
        with self._lock:
            heard = self._now() - timedelta(seconds=ago)
            if self._had_enough(heard, kind):
                return None
            sound = self._folder / f"{heard.strftime(_TIME)}_{kind.replace('_', '-')}{CAPTURE_SOUND}"
            told = {"format": _FORMAT, "time": heard.isoformat(timespec="milliseconds"), "kind": kind, "word": word}
            try:
                self._delete_old(reserved=pcm.nbytes)
                if self._had_enough(heard, kind):  # with what another server has kept
                    return None
                self._write(sound, pcm, sample_rate, {**told, **facts})
                self._captures.append(Capture(sound, heard, kind, sound.stat().st_size))
            except OSError as error:
                self._tell(error)
                return None
            self._failed = False
            return sound

    def tidy(self) -> None:
        """Delete what is too old, once an hour however often it is called."""
        with self._lock:
            if abs(self._now() - self._tidied) < _HOUR:
                return
            self._tidied = self._now()
            try:
                self._delete_old()
            except OSError as error:
                self._tell(error)

    def _had_enough(self, heard: datetime, kind: Kind) -> bool:
        """Whether the hour before has had its captures; a clock that was set back does not make the past long."""
        most = self.settings.max_an_hour
        if kind == "near_miss":  # of which there may be any number, and which must not keep out wake words
            most = (most + 1) // 2
        return sum(abs(capture.kept - heard) < _HOUR for capture in self._captures) >= most

    def _write(self, sound: Path, pcm: Pcm, sample_rate: int, facts: dict[str, Any]) -> None:
        import soundfile

        # the facts first: sound without them would be of nobody knows what
        write_json(sound.with_suffix(CAPTURE_FACTS), facts, PRIVATE_FILE)
        try:
            with replacing(sound, PRIVATE_FILE) as part:
                soundfile.write(part, pcm, sample_rate, format="FLAC", subtype="PCM_16")
        except (OSError, soundfile.LibsndfileError) as error:
            sound.with_suffix(CAPTURE_FACTS).unlink(missing_ok=True)
            raise error if isinstance(error, OSError) else OSError(str(error)) from error

    def _delete_old(self, reserved: int = 0) -> None:
        """Look at what is there, and delete what is too old, or more than leaves the `reserved` bytes."""
        limit, oldest = self.settings.max_mb * _MEGABYTE, self._now() - timedelta(days=self.settings.max_days)
        self._captures = deque(captures_in(self._folder))
        total = sum(capture.bytes for capture in self._captures) + reserved
        while self._captures and (total > limit or self._captures[0].kept < oldest):
            self._captures[0].delete()
            total -= self._captures.popleft().bytes

    def _tell(self, error: OSError) -> None:
        if not self._failed:
            log.warning("what was heard cannot be kept in %s (%s)", self._folder, reason_of(error))
        self._failed = True


class StreamKeeper:
    """Finds in one stream what is to be kept: the calls of a model, and near misses."""

    def __init__(
        self, keeper: Keeper, model: AnyModel, threshold: float, *, decided_after: float | None = None
    ) -> None:
        """Keep of a stream that `model` hears at `threshold`.

        With a judge, calls are refused unless it accepts them within `decided_after` seconds of the stream.
        """
        settings = self._settings = keeper.settings
        self._keeper, self._model, self._accepts = keeper, model, decided_after is None
        self._facts = {"threshold": round(threshold, 5), "model": model.key, "sample_rate": model.sample_rate}
        self._near = StreamingDetector(settings.near * threshold, model.detector)
        self._waits = max(settings.after_seconds, decided_after or 0.0)
        self._around = Around(model.sample_rate, settings.before_seconds, self._waits)
        self._calls: dict[float, bool] = {}
        """Time of each call -> whether it was accepted."""
        self._last_near = -math.inf
        """Time of the last near miss that is kept."""
        self._recent: deque[tuple[float, float]] = deque()

    def push(self, pcm: Pcm, times: Times, scores: Floats, calls: Sequence[Detection]) -> None:
        """Take the next int16 [samples], their scores [k, classes] at `times` [k] in seconds, and the calls in them.

        Times in the quiet after the stream's end, of which there are no samples, count as that of its end.
        """
        self._keeper.tidy()
        end = (self._around.samples + len(pcm)) / self._model.sample_rate
        self._calls = {call.time: self._accepts for call in calls} | self._calls
        wake, best = wake_scores(scores, self._model.handicaps)
        near = []
        for time, score, label in zip(times.tolist(), wake.tolist(), best.tolist(), strict=True):
            self._recent.append((min(time, end), score))
            found = self._near.push(time, score, self._model.labels[label])
            near += [found._replace(time=min(time, end))] if found else []
        waiting = sorted({one.time: one for one in (*near, *calls)}.values())
        self._keep(self._around.push(pcm, waiting))

    def decide(self, call: Detection, accepted: bool) -> None:
        """Take what the judge made of a call."""
        self._calls[call.time] = accepted

    def finish(self) -> None:
        """End the stream, and keep what still waits with the sound there is."""
        self._keep(self._around.finish())

    def _keep(self, whole: Sequence[tuple[Detection, Pcm]]) -> None:
        rate, after = self._model.sample_rate, self._settings.after_seconds
        heard_until = self._around.samples / rate
        for found, heard in whole:
            if found.time in self._calls:
                kind: Kind = "event" if self._calls[found.time] else "refused"
            elif any(self._has_sound_of(found.time, other) for other in (*self._calls, self._last_near)):
                continue
            else:
                kind, self._last_near = "near_miss", found.time
            before = max(0.0, len(heard) / rate - min(self._waits, heard_until - found.time))  # less as a stream begins
            peak = max((score for time, score in self._recent if abs(time - found.time) <= after), default=0.0)
            facts = {**self._facts, "score": round(peak, 5), "before_seconds": round(before, 3)}
            kept, ago = heard[: round((before + after) * rate)], max(0.0, heard_until - found.time)
            self._keeper.keep(kept, rate, kind, found.label, facts, ago)
        horizon = heard_until - 2 * self._waits - 1
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()
        self._calls = {time: accepted for time, accepted in self._calls.items() if time >= horizon}

    def _has_sound_of(self, time: float, kept: float) -> bool:
        """Whether the capture of what was at the time `kept` has the sound of another time."""
        return -self._settings.before_seconds <= time - kept <= self._settings.after_seconds
