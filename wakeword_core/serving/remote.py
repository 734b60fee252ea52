"""A judge on a server: it confirms what a small model here detects, before that counts, while listening goes on."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Literal, NamedTuple, TypeVar

from wakeword_core.config import CascadeConfig
from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.runtime.around import Around, Pcm
from wakeword_core.runtime.detector import Detection
from wakeword_core.serving.client import JudgeClient, JudgeError

Absent = Literal["accept", "reject"]
ANSWER_SECONDS = 3.0
"""How long a detection waits for the judge."""
_MOST_ASKED = 8
"""Questions at once: some may hang for longer than they are waited for, as in the search for a host's address."""
_TRY_LATER, _SERVER_FAILED = 429, 500
Result = TypeVar("Result")
log = logging.getLogger(__name__)


class _Question(NamedTuple):
    call: Detection
    answer: "Future[bool]"
    until: float


class RemoteJudge:
    """Asks a server about each detection of a stream; `absent` decides where it does not answer in time."""

    def __init__(self, client: JudgeClient, words: Sequence[str], sample_rate: int, absent: Absent) -> None:
        policy = CascadeConfig()
        self._client, self._words, self._rate, self._absent = client, words, sample_rate, absent
        self._around = Around(sample_rate, policy.before_seconds, policy.after_seconds)
        self.decided_after = policy.after_seconds + ANSWER_SECONDS
        """So many seconds after a detection it is decided at the latest."""
        self._asked: deque[_Question] = deque()
        self._threads: list[threading.Thread] = []
        self._is_absent = self._knows_the_words = False

    def begin(self) -> None:
        """See whether the server is there, and say so in the log if not.

        Raises JudgeError where it refuses to answer, and ConfigError where it does not know the words.
        """
        try:
            self._begun(self._learn_words).result(ANSWER_SECONDS)
        except TimeoutError:
            self._note_absence(None)
        except JudgeError as error:
            if 0 < error.status < _SERVER_FAILED and error.status != _TRY_LATER:
                raise
            self._note_absence(error)

    def push(self, pcm: Pcm, calls: Sequence[Detection]) -> list[Detection]:
        """Take the next int16 [samples] and the detections in them, and return those that count by now."""
        self._ask(self._around.push(pcm, calls))
        return self._decided(wait=False)

    def finish(self) -> list[Detection]:
        """Ask about what is left, by the audio that there is, wait for the answers, and return what counts."""
        self._ask(self._around.finish())
        return self._decided(wait=True)

    def _ask(self, heard: Sequence[tuple[Detection, Pcm]]) -> None:
        for call, pcm in heard:
            answer = self._begun(self._confirms, call.label, pcm)
            self._asked.append(_Question(call, answer, time.monotonic() + ANSWER_SECONDS))

    def _decided(self, *, wait: bool) -> list[Detection]:
        """Return what counts of the detections whose answers are there or too late, in their order."""
        counted = []
        while self._asked:
            call, answer, until = self._asked[0]
            left = max(0.0, until - time.monotonic())
            if left and not wait and not answer.done():
                break
            self._asked.popleft()
            if self._accepted(answer, left):
                counted.append(call)
        return counted

    def _accepted(self, answer: "Future[bool]", seconds: float) -> bool:
        try:
            confirmed = answer.result(seconds)
        except TimeoutError:
            self._note_absence(None)
        except WakewordError as error:
            self._note_absence(error)
        else:
            if self._is_absent:
                log.info("the judge answers again")
            self._is_absent = False
            return confirmed
        return self._absent == "accept"

    def _note_absence(self, error: WakewordError | None) -> None:
        if not self._is_absent:
            why = error or f"nothing came from {self._client.url} within {ANSWER_SECONDS:g} s"
            then = "count" if self._absent == "accept" else "do not count"
            log.warning("the judge gives no answer (%s); until it does, detections %s", why, then)
        self._is_absent = True

    def _begun(self, question: Callable[..., Result], *given: object) -> "Future[Result]":
        """Ask in a thread that nobody has to wait for."""
        answer: Future[Result] = Future()

        def ask() -> None:
            try:
                answer.set_result(question(*given))
            except Exception as error:
                answer.set_exception(error)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= _MOST_ASKED:
            answer.set_exception(JudgeError(f"{self._client.url} owes {_MOST_ASKED} answers", "busy"))
        else:
            self._threads.append(threading.Thread(target=ask, name="wakeword-judge", daemon=True))
            self._threads[-1].start()
        return answer

    def _learn_words(self) -> None:
        known = self._client.model().words
        if unknown := [word for word in self._words if word not in known]:
            raise ConfigError(
                f"the judge at {self._client.url} cannot confirm {unknown[0]!r}; it knows {', '.join(known)}"
            )
        self._knows_the_words = True

    def _confirms(self, word: str, pcm: Pcm) -> bool:
        if not self._knows_the_words:
            self._learn_words()
        return word in {event.word for event in self._client.verify_pcm(pcm, self._rate).events}
