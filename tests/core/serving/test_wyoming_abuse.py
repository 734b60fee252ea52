"""What Wyoming clients may not do: garbage, absurd lengths, silence, too many at once."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from satellite import FORMAT, answers, connect, detections, heard, send
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info

from wakeword_core.serving import wyoming
from wakeword_core.serving.refusals import RefusedError


def test_a_client_that_breaks_off_leaves_its_place(talk, sound):
    async def broken(port, service):
        for rest in (b"", b'{"type": "audio-chunk"', b'{"type": "x", "payload_length": 100}\n' + b"x" * 50):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = AsyncTcpClient("127.0.0.1", port)
            client._reader, client._writer = reader, writer
            await send(client, sound(0.2).tobytes(), stop=False)
            while not service._streams._taken:
                await asyncio.sleep(0.01)
            writer.write(rest)
            writer.close()
            while service._streams._taken:
                await asyncio.sleep(0.01)
        return await heard(port, sound(1.5).tobytes())

    assert len(detections(talk(broken))) == 1


def test_who_sends_nothing_or_reads_nothing_is_let_go(talk, monkeypatch, caplog):
    monkeypatch.setattr(wyoming, "_PARTING_SECONDS", 0.1)
    caplog.set_level(logging.INFO)

    async def idle(port, service):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        error = json.loads(await reader.readline())
        assert error["type"] == "error" and await reader.read(-1) != b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
        loud = json.dumps({"type": "ping", "data": {"text": "x" * 8_000}}).encode() + b"\n"
        with pytest.raises(ConnectionError):
            while True:
                writer.write(loud)
                await writer.drain()

    talk(idle, stream_idle_seconds=0.3)
    lines = [record.getMessage() for record in caplog.records if "Wyoming client" in record.getMessage()]
    assert "nothing came for 0.3 s" in lines[0] and "nothing was taken for 0.3 s" in lines[1]


def line(**header):
    return json.dumps(header).encode() + b"\n"


GARBAGE = [
    (b"\0\1\2\3\n", "no_event"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no_event"),
    (b"null\n", "no_event"),
    (b"[]\n", "no_event"),
    (b"{}\n", "no_event"),
    (b'{"type": 5}\n', "no_event"),
    (b'{"type": "ping", "data": [1]}\n', "no_event"),
    (b'{"type": "ping", "data": {"a": NaN}}\n', "no_event"),
    (b"[" * 5_000 + b"\n", "no_event"),
    (b"x" * 100_000, "no_event"),
    (line(type="a" * 200), "no_event"),
    (line(type="ping", data_length=-1), "no_event"),
    (line(type="ping", data_length=True), "no_event"),
    (line(type="ping", data_length="5"), "no_event"),
    (line(type="ping", data_length=4) + b"[[1]", "no_event"),
    (line(type="ping", data_length=3) + b"[1]", "no_event"),
    (line(type="ping", data_length=10**18), "event_too_large"),
    (line(type="audio-chunk", payload_length=10**30), "event_too_large"),
    (line(type="audio-chunk", payload_length=2**18 + 1), "event_too_large"),
    (line(type="audio-chunk", data={}), "wrong_event"),
    (line(type="audio-chunk", data={**FORMAT, "width": 5}), "wrong_event"),
    (line(type="audio-chunk", data={**FORMAT, "channels": 0}), "wrong_event"),
    (line(type="audio-chunk", data={**FORMAT, "channels": 9}), "wrong_event"),
    (line(type="audio-chunk", data={**FORMAT, "rate": 16_000.5}), "wrong_event"),
    (line(type="audio-chunk", data={**FORMAT, "rate": "16000"}), "wrong_event"),
    (line(type="audio-start", data={**FORMAT, "timestamp": 10**30}), "wrong_event"),
    (line(type="audio-start", data={**FORMAT, "rate": 0}), "sample_rate"),
    (line(type="audio-start", data={**FORMAT, "rate": 10**30}), "sample_rate"),
    (line(type="audio-start", data={**FORMAT, "rate": -16_000}), "sample_rate"),
    (line(type="detect", data={"names": "hey_robin"}), "wrong_event"),
    (line(type="detect", data={"names": [5]}), "wrong_event"),
    (line(type="detect", data={"names": ["hey_robin", "x" * 5_000]}), "unknown_name"),
]


def test_garbage_is_refused_with_a_reason_and_a_line(talk, sound, caplog):
    async def all_of_it(port, service):
        told = []
        for garbage, _ in GARBAGE:
            async with connect(port) as client:
                client._writer.write(garbage)
                error = Error.from_event(await client.read_event())
                assert error.text and len(error.text) < 400
                told.append(error.code)
        return told, await heard(port, sound(1.5).tobytes())

    told, events = talk(all_of_it)
    assert told == [code for _, code in GARBAGE] and len(detections(events)) == 1
    lines = [record for record in caplog.records if "Wyoming client at 127.0.0.1, port" in record.getMessage()]
    assert len(lines) == len(GARBAGE) and not any(record.exc_info for record in lines)


def read(data):
    """What comes of bytes and their end: an event, None or a refusal."""

    async def from_bytes():
        reader = asyncio.StreamReader(limit=wyoming._LINE_BYTES)
        reader.feed_data(data)
        reader.feed_eof()
        return await wyoming.read_event(reader, 100)

    try:
        return asyncio.run(from_bytes())
    except RefusedError as error:
        return error


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_events_are_an_event_or_refused(data):
    whole = bytearray(line(type="audio-chunk", data={"a": 1}, data_length=9, payload_length=4) + b'{"b": "x"}abcd')
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = read(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert found is None or isinstance(found, Event | RefusedError)


def test_a_whole_event_is_read_with_both_its_data():
    event = read(line(type="x", data={"a": 1, "b": 2}, data_length=8, payload_length=4) + b'{"b": 3}abcde')
    assert (event.type, event.data, event.payload) == ("x", {"a": 1, "b": 3}, b"abcd")


def test_the_format_may_not_change_within_a_stretch_but_a_wrong_start_is_forgiven(talk, sound):
    async def changing(port, service):
        async with connect(port) as client:
            await client.write_event(AudioStart(8_000, 4, 2).event())
            await client.write_event(AudioChunk(**FORMAT, audio=sound(1.5).tobytes()).event())
            await client.write_event(AudioChunk(44_100, 2, 1, audio=b"xx").event())
            return await answers(client)

    *events, error = talk(changing)
    assert len(detections(events)) == 1 and error.data["code"] == "format_changed"


def test_more_clients_than_allowed_are_refused(talk, sound, caplog):
    async def one_too_many(port, service):
        async with connect(port) as first, connect(port) as second, connect(port) as third:
            for client in (first, second):
                await send(client, sound(0.2).tobytes(), stop=False)
                await answers(client)
            await send(third, sound(0.1).tobytes())
            refused = Error.from_event(await third.read_event())
            async with connect(port) as asking:  # which takes no stream's place
                await asking.write_event(Describe().event())
                assert Info.is_type((await asking.read_event()).type)
            await first.write_event(AudioStop().event())
            await answers(first)
            return refused.code, await heard(port, sound(1.5).tobytes())

    code, events = talk(one_too_many, max_streams=2)
    assert code == "too_many_streams" and len(detections(events)) == 1

    async def too_many_connections(port, service):
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(port)) for _ in range(65)]
            assert await answers(clients[-1]) == []
            async with connect(port) as another:
                return Error.from_event(await another.read_event()).code, await answers(clients[0])

    assert talk(too_many_connections, max_streams=1) == ("too_many_connections", [])
    assert "2 streams are open" in caplog.text and "65 clients are connected" in caplog.text
