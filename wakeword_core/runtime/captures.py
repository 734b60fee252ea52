"""Sound that is kept while a model listens: around wake words, and around what nearly was one.

Nothing is kept unless somebody names a folder. In it each capture is a FLAC file, and beside it a JSON file that says
what was heard; only the owner can read them. The folder is bounded in bytes, in days and in captures an hour.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from wakeword_core.audio import Pcm
from wakeword_core.config import KeepConfig
from wakeword_core.errors import DataError
from wakeword_core.files import read_json, replacing, write_json
from wakeword_core.runtime.around import Around
from wakeword_core.runtime.detector import Detection, StreamingDetector, wake_scores
from wakeword_core.runtime.model import AnyModel
from wakeword_core.runtime.streaming import Floats, Times

log = logging.getLogger(__name__)

Kind = Literal["event", "refused", "near_miss"]
"""A wake word; what the model called one and its judge did not; and what came near the threshold only."""

_FORMAT = 1
_SOUND, _FACTS = ".flac", ".json"
_TIME = "%Y-%m-%dT%H-%M-%S.%f"
_MEGABYTE = 1e6
_HOUR = timedelta(hours=1)
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


@dataclass(frozen=True)
class Capture:
    """One capture in a folder."""

    sound: Path
    kept: datetime
    kind: str
    bytes: int

    @property
    def facts(self) -> Path:
        """The file that says what was heard."""
        return self.sound.with_suffix(_FACTS)

    def delete(self) -> None:
        """Delete its files, as far as they are there; the sound first."""
        self.sound.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)


def captures_in(folder: Path) -> list[Capture]:
    """List the captures of a folder, oldest first; other files are none of them."""
    return sorted(_listed(folder), key=lambda capture: capture.sound.name)


def read_facts(capture: Capture) -> dict[str, Any]:
    """Return what is written of a capture; DataError where that is no JSON object."""
    facts = read_json(capture.facts)
    if not isinstance(facts, dict):
        raise DataError(f"{capture.facts} does not say what was captured; delete it with its sound")
    return facts


def _listed(folder: Path) -> Iterator[Capture]:
    for sound in folder.glob(f"*{_SOUND}"):
        time, _, kind = sound.stem.partition("_")
        try:
            kept = datetime.strptime(time, _TIME).replace(tzinfo=UTC)
            size = sound.stat().st_size
        except (ValueError, FileNotFoundError):
            continue
        yield Capture(sound, kept, kind.replace("-", "_"), size)


class Keeper:
    """Writes captures to a folder within its bounds; several threads may use one."""

    def __init__(self, folder: Path, settings: KeepConfig, now: Callable[[], datetime] | None = None) -> None:
        """Make the folder, private where it was not there; DataError if that cannot be."""
        self.settings = settings
        self._folder = folder
        self._now = now or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self._full = False
        try:
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._captures = deque(captures_in(folder))
        except OSError as error:
            raise DataError(f"nothing can be kept in {folder} ({error.strerror}); name another folder") from error

    def keep(self, pcm: Pcm, sample_rate: int, kind: Kind, word: str, facts: dict[str, Any], ago: float) -> Path | None:
        """Write int16 [samples] of what was heard `ago` seconds ago; None where the hour has had its captures.

        What is too old, or too much, is deleted first. A full disk is told of in the log, once, and is no error.
        """
        with self._lock:
            heard = self._now() - timedelta(seconds=ago)
            self._delete_old(reserved=pcm.nbytes)
            if sum(capture.kept > heard - _HOUR for capture in self._captures) >= self.settings.max_an_hour:
                return None
            sound = self._folder / f"{heard.strftime(_TIME)}_{kind.replace('_', '-')}{_SOUND}"
            told = {"format": _FORMAT, "time": heard.isoformat(timespec="milliseconds"), "kind": kind, "word": word}
            try:
                self._write(sound, pcm, sample_rate, {**told, **facts})
            except OSError as error:
                if not self._full:
                    log.warning("what was heard cannot be kept in %s (%s)", self._folder, error.strerror or error)
                self._full = True
                return None
            self._full = False
            self._captures.append(Capture(sound, heard, kind, sound.stat().st_size))
            return sound

    def _write(self, sound: Path, pcm: Pcm, sample_rate: int, facts: dict[str, Any]) -> None:
        import soundfile

        # the facts first: sound without them would be of nobody knows what
        write_json(sound.with_suffix(_FACTS), facts)
        sound.with_suffix(_FACTS).chmod(_PRIVATE_FILE)
        with replacing(sound) as part:
            try:
                soundfile.write(part, pcm, sample_rate, format="FLAC", subtype="PCM_16")
            except soundfile.LibsndfileError as error:
                raise OSError(str(error)) from error
            part.chmod(_PRIVATE_FILE)

    def _delete_old(self, reserved: int) -> None:
        limit, oldest = self.settings.max_mb * _MEGABYTE, self._now() - timedelta(days=self.settings.max_days)
        total = sum(capture.bytes for capture in self._captures) + reserved
        while self._captures and (total > limit or self._captures[0].kept < oldest):
            capture = self._captures.popleft()
            capture.delete()
            total -= capture.bytes


class StreamKeeper:
    """Finds in one stream what is to be kept: the calls of a model, and near misses."""

    def __init__(self, keeper: Keeper, model: AnyModel, threshold: float, *, decided_after: float = 0.0) -> None:
        """Keep of a stream that `model` hears at `threshold`; a judge decides `decided_after` seconds after a call."""
        settings = keeper.settings
        self._keeper, self._model, self._threshold = keeper, model, threshold
        self._facts = {"threshold": round(threshold, 5), "model": model.key, "sample_rate": model.sample_rate}
        self._near = StreamingDetector(settings.near * threshold, model.detector)
        self._after = max(settings.after_seconds, decided_after)
        self._around = Around(model.sample_rate, settings.before_seconds, self._after)
        self._calls: dict[float, bool] = {}
        """Time of each call -> whether it was accepted."""
        self._recent: deque[tuple[float, float]] = deque()

    def push(self, pcm: Pcm, times: Times, scores: Floats, calls: Sequence[Detection]) -> None:
        """Take the next int16 [samples], their scores [k, classes] at `times` [k] in seconds, and the calls in them."""
        self._calls = {call.time: True for call in calls} | self._calls
        wake, best = wake_scores(scores, self._model.handicaps)
        near = []
        for time, score, label in zip(times, wake.tolist(), best.tolist(), strict=True):
            self._recent.append((float(time), score))
            found = self._near.push(float(time), score, self._model.labels[label])
            near += [found] if found else []
        waiting = sorted({one.time: one for one in (*near, *calls)}.values())
        self._keep(self._around.push(pcm, waiting))

    def decide(self, call: Detection, accepted: bool) -> None:
        """Take what the judge made of a call."""
        self._calls[call.time] = accepted

    def finish(self) -> None:
        """End the stream, and keep what still waits with the sound there is."""
        self._keep(self._around.finish())

    def _keep(self, whole: Sequence[tuple[Detection, Pcm]]) -> None:
        for found, heard in whole:
            near_to = [time for time in self._calls if abs(time - found.time) <= self._after]
            if found.time in self._calls:
                kind: Kind = "event" if self._calls[found.time] else "refused"
            elif near_to:
                continue  # the beginning of a call, or its end
            else:
                kind = "near_miss"
            peak = max((score for time, score in self._recent if abs(time - found.time) <= self._after), default=0.0)
            ago = self._around.samples / self._model.sample_rate - found.time
            facts = {**self._facts, "score": round(peak, 5), "before_seconds": self._keeper.settings.before_seconds}
            self._keeper.keep(heard, self._model.sample_rate, kind, found.label, facts, max(0.0, ago))
        horizon = self._around.samples / self._model.sample_rate - 2 * self._after - 1
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()
        self._calls = {time: accepted for time, accepted in self._calls.items() if time >= horizon}
