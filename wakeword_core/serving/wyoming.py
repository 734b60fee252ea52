"""The Wyoming protocol, as Home Assistant and its satellites speak it: audio in, detections out. docs/serving.md.

Each event is a line of JSON, which may be followed by more JSON and by audio, both as long as the line says.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from wakeword_core import __version__
from wakeword_core.audio import Samples, from_pcm16, to_mono, to_pcm16
from wakeword_core.errors import ConfigError, reason_of
from wakeword_core.files import parse_json
from wakeword_core.serving.cascade import Cascade, Pcm
from wakeword_core.serving.listening import Message
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.service import Service
from wakeword_core.serving.stream_route import Pace, in_time
from wakeword_core.serving.uploads import MAX_CHANNELS, check_rate

log = logging.getLogger(__name__)

_LINE_BYTES, _DATA_BYTES = 8_192, 65_536
"""The longest line of an event, and the most JSON after it."""
_MORE_CONNECTIONS = 64
"""Connections besides those with streams: of clients that only ask what there is, or that are about to be refused."""
_PARTING_SECONDS = 2.0
"""How long a client may take to read why it is refused."""
_IDLE = 408
_MAKER = Attribution("wakeword", "")
Milliseconds = Annotated[int, Field(ge=-(2**62), le=2**62)]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class _Line(_Checked):
    type: str = Field(max_length=100)
    data: dict[str, Any] | None = None
    data_length: Annotated[int, Field(ge=0)] | None = None
    payload_length: Annotated[int, Field(ge=0)] | None = None


class _Format(_Checked):
    """How samples are written: whole numbers, little-endian, of `width` bytes; of one byte, without a sign."""

    rate: int
    width: Literal[1, 2, 3, 4]
    channels: int = Field(ge=1, le=MAX_CHANNELS)


class _Sound(_Format):
    timestamp: Milliseconds | None = None

    @property
    def format(self) -> _Format:
        return _Format(rate=self.rate, width=self.width, channels=self.channels)


class _Names(_Checked):
    names: list[str] | None = None


AnyData = TypeVar("AnyData", bound=_Checked)


class _Word(NamedTuple):
    """A wake word, and the model that hears it."""

    cascade: Cascade
    label: str


class _Heard(NamedTuple):
    name: str
    seconds: float


async def read_event(reader: asyncio.StreamReader, most_bytes: int) -> Event | None:
    """Return the next event of a client, or None when it has gone; its audio may have `most_bytes`.

    Raises RefusedError for what is no event, or too large, before more of it is read. The reader of the library waits
    for as many bytes as it is told of.
    """
    try:
        text = await reader.readline()
        if not text.endswith(b"\n"):
            return None
        line = _Line.model_validate(parse_json(text))
        length, size = line.data_length or 0, line.payload_length or 0
        if length > _DATA_BYTES or size > most_bytes:
            raise RefusedError(
                413, "event_too_large", f"an event may have {_DATA_BYTES:,} bytes of data and {most_bytes:,} of audio"
            )
        more = parse_json(await reader.readexactly(length)) if length else {}
        payload = await reader.readexactly(size) if size else None
        return Event(line.type, {**(line.data or {}), **more}, payload)
    except asyncio.IncompleteReadError:
        return None
    except (ValueError, TypeError) as error:  # a line that is too long, no JSON, or JSON of something else
        raise RefusedError(422, "no_event", f"what was sent is no event of Wyoming ({reason_of(error)})") from error


def mono_pcm(data: bytes, form: _Format) -> Pcm:
    """Turn whole frames of a format into int16 [samples]; channels are averaged."""
    if form.width == 1:
        samples: Samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    elif form.width == 2:
        samples = from_pcm16(np.frombuffer(data, "<i2"))
    else:
        words = np.zeros((len(data) // form.width, 4), np.uint8)
        words[:, 4 - form.width :] = np.frombuffer(data, np.uint8).reshape(-1, form.width)
        samples = words.view("<i4").ravel().astype(np.float32) / np.float32(2**31)
    return to_pcm16(to_mono(samples.reshape(-1, form.channels)))


def words_of(cascades: Sequence[Cascade]) -> dict[str, _Word]:
    """Return the wake words of models by the name under which clients ask for them, such as hey_robin.

    Raises ConfigError where two models have a word of one name.
    """
    words: dict[str, _Word] = {}
    for cascade in cascades:
        for label in cascade.sentry.model.labels[1:]:
            name = "_".join(label.split())
            if name in words:
                raise ConfigError(
                    f"{words[name].cascade.sentry.model.path} and {cascade.sentry.model.path} both hear {label!r}, and "
                    "clients could not tell them apart; serve one of them"
                )
            words[name] = _Word(cascade, label)
    return words


class Satellites:
    """Answers Wyoming clients at a socket, while it is open as a context; the service must be open around it."""

    def __init__(self, service: Service, listener: socket.socket) -> None:
        self._service, self._listener = service, listener
        words_of(service.cascades)  # which clients have to tell apart
        self._most = service.settings.max_streams + _MORE_CONNECTIONS
        self._open: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, sock=self._listener, limit=_LINE_BYTES)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it goes, or does what it may not."""
        task = asyncio.current_task()
        assert task is not None
        address, port, *_ = writer.get_extra_info("peername") or ("an address that is gone", 0)
        client = f"{address}, port {port}"
        self._open.add(task)
        try:
            if len(self._open) > self._most:
                raise RefusedError(429, "too_many_connections", f"{self._most} clients are connected; try again later")
            await _Conversation(self._service, reader, writer).run()
        except RefusedError as error:
            level = logging.INFO if error.status == _IDLE else logging.WARNING
            log.log(level, "the Wyoming client at %s was refused: %s", client, error.detail)
            with suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(
                    async_write_event(Error(error.detail, error.code).event(), writer), _PARTING_SECONDS
                )
        except ConnectionError as error:
            log.debug("the Wyoming client at %s is gone: %s", client, error)
        except Exception:
            log.exception("the server failed on what the Wyoming client at %s sent; please report it", client)
        finally:
            self._open.discard(task)
            writer.close()
            asyncio.get_running_loop().call_later(_PARTING_SECONDS, writer.transport.abort)  # of who reads nothing


class _Conversation:
    """What one client says and is answered."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service, self._settings = service, service.settings
        self._reader, self._writer = reader, writer
        self._wanted: Sequence[str] = ()
        """Names of wake words; none: all."""
        self._pace = Pace(self._settings.stream_speed)
        self._hearing: _Hearing | None = None
        self._place = ExitStack()
        self._milliseconds = 0.0
        """What the client's clock said when the audio began."""

    async def run(self) -> None:
        """Answer until the client has gone; RefusedError for what it may not do."""
        with self._place:
            try:
                await self._answer()
            except (RefusedError, ConnectionError):
                await self._leave()
                raise
            await self._leave()

    async def _answer(self) -> None:
        seconds, most = self._settings.stream_idle_seconds, self._settings.stream_message_bytes
        while (event := await in_time(read_event(self._reader, most), seconds, "nothing came")) is not None:
            if AudioChunk.is_type(event.type):
                await self._hear(event)
            else:
                await asyncio.sleep(self._pace.pause(0.0))
                await self._take(event)

    async def _leave(self) -> None:
        """Leave the audio that has no end, as of who goes at the first wake word."""
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            await self._service.listen(hearing.leave)

    async def _take(self, event: Event) -> None:
        """Take an event without audio; those that are not about wake words are none of ours."""
        if Describe.is_type(event.type):
            await self._send(_info(words_of(self._service.cascades), self._settings.languages).event())
        elif Ping.is_type(event.type):
            await self._send(Pong(Ping.from_event(event).text).event())
        elif Detect.is_type(event.type):
            self._wanted = _valid(_Names, event).names or ()
            self._words()
        elif AudioStart.is_type(event.type):
            sound = _valid(_Sound, event)
            await self._begin(sound.format)
            self._milliseconds = sound.timestamp or 0
        elif AudioStop.is_type(event.type):
            await self._end()

    def _words(self) -> dict[str, _Word]:
        """Return the wanted wake words with the models that hear them now; RefusedError for an unknown one."""
        words = words_of(self._service.cascades)
        unknown = [name for name in self._wanted if name not in words]
        if unknown:
            known = ", ".join(words)
            raise RefusedError(404, "unknown_name", f"there is no wake word {unknown[0][:100]!r} here, but {known}")
        return {name: words[name] for name in self._wanted or words}

    async def _begin(self, form: _Format) -> None:
        """Begin to hear audio, in place of what there was."""
        check_rate(form.rate)
        await self._leave()
        self._place.close()
        self._place.enter_context(self._service.stream_opened())
        self._hearing = await self._service.listen(_Hearing, self._service, self._words(), form)

    async def _hear(self, event: Event) -> None:
        sound, data = _valid(_Sound, event), event.payload or b""
        if self._hearing is None or (self._hearing.form != sound.format and not self._hearing.seconds):
            await self._begin(sound.format)  # without a start, or after one that told something else
        hearing = self._hearing
        assert hearing is not None
        if hearing.form != sound.format:
            raise RefusedError(422, "format_changed", "rate, width or channels changed within one stretch of audio")
        await asyncio.sleep(self._pace.pause(len(data) / (sound.rate * sound.width * sound.channels)))
        if sound.timestamp is not None:
            self._milliseconds = sound.timestamp - 1e3 * hearing.seconds
        await self._tell(await self._service.listen(hearing.push, data))

    async def _end(self) -> None:
        hearing, self._hearing = self._hearing, None
        detected = False
        if hearing is not None:
            await self._tell(await self._service.listen(hearing.finish))
            detected = hearing.detected
        self._place.close()
        self._milliseconds = 0.0
        if not detected:
            await self._send(NotDetected().event())

    async def _tell(self, heard: Sequence[_Heard]) -> None:
        for name, seconds in heard:
            await self._send(Detection(name, round(self._milliseconds + 1e3 * seconds)).event())

    async def _send(self, event: Event) -> None:
        await in_time(async_write_event(event, self._writer), self._settings.stream_idle_seconds, "nothing was taken")


class _Hearing:
    """One stretch of audio, to which the models of the words that are wanted listen; it is used in worker threads."""

    def __init__(self, service: Service, words: dict[str, _Word], form: _Format) -> None:
        self.form, self.detected = form, False
        names: dict[Cascade, dict[str, str]] = {}
        for name, (cascade, label) in words.items():
            names.setdefault(cascade, {})[label] = name
        self._listeners = [(service.listening(form.rate, cascade), of_model) for cascade, of_model in names.items()]
        self._odd, self._frames = b"", 0

    @property
    def seconds(self) -> float:
        """Length of the audio so far."""
        return self._frames / self.form.rate

    def push(self, data: bytes) -> list[_Heard]:
        """Take the next bytes, cut anywhere, and return what was heard, in order of time."""
        data, frame = self._odd + data, self.form.width * self.form.channels
        whole = len(data) // frame * frame
        self._odd = data[whole:]
        pcm = mono_pcm(data[:whole], self.form)
        self._frames += len(pcm)
        return self._heard([(listening.push(pcm), names) for listening, names in self._listeners] if len(pcm) else [])

    def finish(self) -> list[_Heard]:
        """End the audio, which quiet follows, and return what is still heard."""
        return self._heard([(listening.finish(), names) for listening, names in self._listeners])

    def leave(self) -> None:
        """Keep what is to be kept of audio that has no end."""
        for listening, _ in self._listeners:
            listening.leave()

    def _heard(self, answers: Sequence[tuple[list[Message], dict[str, str]]]) -> list[_Heard]:
        heard = [
            _Heard(names[message["word"]], message["time"])
            for messages, names in answers
            for message in messages
            if message["type"] == "event" and message["word"] in names
        ]
        self.detected |= bool(heard)
        return sorted(heard, key=lambda one: one.seconds)


def _info(words: dict[str, _Word], languages: Sequence[str]) -> Info:
    models = [
        WakeModel(name, _MAKER, True, label, cascade.sentry.key, list(languages), label)
        for name, (cascade, label) in words.items()
    ]
    return Info(wake=[WakeProgram("wakeword", _MAKER, True, "Wake words", __version__, models)])


def _valid(kind: type[AnyData], event: Event) -> AnyData:
    """Return the data of an event as `kind` has it; RefusedError where it is otherwise."""
    try:
        return kind.model_validate(event.data)
    except ValueError as error:
        raise RefusedError(422, "wrong_event", f"{event.type[:100]}: {reason_of(error)}") from error
