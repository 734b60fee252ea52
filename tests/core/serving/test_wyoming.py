"""Wyoming: the library's own client over a socket, what it is told, and what a client may not do."""

import asyncio
import json
import logging
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from wakeword_core.config import ServingConfig
from wakeword_core.config.serving import tcp_address
from wakeword_core.errors import ConfigError
from wakeword_core.serving import wyoming
from wakeword_core.serving.listening import Listening
from wakeword_core.serving.network import listening_socket
from wakeword_core.serving.refusals import RefusedError
from wakeword_core.serving.service import Service
from wakeword_core.serving.wyoming import Satellites

FORMAT = {"rate": 16_000, "width": 2, "channels": 1}
CHUNK = 1_024
PATIENCE = 20.0


@pytest.fixture
def talk(folder):
    """`talk(conversation, ...)` runs a coroutine with the port of a server and its service."""

    def run(conversation, judge=None, others=(), **settings):
        chosen = ServingConfig.model_validate({"stream_speed": 1_000.0, **settings})

        async def main():
            with Service(chosen, folder, judge, others) as service, listening_socket("127.0.0.1", 0) as listener:
                async with Satellites(service, listener):
                    return await asyncio.wait_for(conversation(listener.getsockname()[1], service), PATIENCE)

        return asyncio.run(main())

    return run


def connect(port):
    return AsyncTcpClient("127.0.0.1", port, read_timeout=PATIENCE)


async def send(client, data, form=FORMAT, names=None, started_at=0, stop=True):
    """A stretch of audio, as Home Assistant sends it."""
    await client.write_event(Detect(names).event())
    await client.write_event(AudioStart(**form, timestamp=started_at).event())
    frame = form["width"] * form["channels"]
    for start in range(0, len(data), CHUNK * frame):
        at = started_at + round(1_000 * start / frame / form["rate"])
        chunk = AudioChunk(**form, audio=data[start : start + CHUNK * frame], timestamp=at)
        await client.write_event(chunk.event())
    if stop:
        await client.write_event(AudioStop().event())


async def answers(client):
    """Everything up to the answer to a ping that is sent now, or until the server closes."""
    await client.write_event(Ping("end").event())
    events = []
    while (event := await client.read_event()) is not None and not Pong.is_type(event.type):
        events.append(event)
    return events


def detections(events):
    return [(event.data["name"], event.data["timestamp"]) for event in events if Detection.is_type(event.type)]


async def heard(port, data, **given):
    async with connect(port) as client:
        await send(client, data, **given)
        return await answers(client)


def test_what_there_is_is_told(talk, make_model, tmp_path):
    other = make_model(tmp_path / "other", labels=("_negative", "computer", "okay house"), key="other-key")

    async def ask(port, service):
        async with connect(port) as client:
            await client.write_event(Describe().event())
            return Info.from_event(await client.read_event())

    (program,) = talk(ask, others=[other], languages=["de"]).wake
    assert program.installed and program.name == "wakeword"
    assert [(one.name, one.phrase, one.languages, one.version) for one in program.models] == [
        ("hey_robin", "hey robin", ["de"], "artifact-key"),
        ("computer", "computer", ["de"], "other-key"),
        ("okay_house", "okay house", ["de"], "other-key"),
    ]


def test_detections_are_those_of_the_runtime_at_the_clients_time(talk, model, sound):
    pcm = sound(3.5)
    expected = [("hey_robin", 5_000 + round(1_000 * one.time)) for one in model.detect(pcm)]
    events = talk(lambda port, service: heard(port, pcm.tobytes(), started_at=5_000))
    assert detections(events) == expected and len(expected) == len(events) == 2


def test_a_detection_comes_before_the_audio_ends_and_the_client_may_just_go(talk, sound, eventually):
    async def like_home_assistant(port, service):
        async with connect(port) as client:
            await send(client, sound(1.5).tobytes(), names=["hey_robin"], stop=False)
            detection = Detection.from_event(await client.read_event())
            assert service._streams._taken == 1
        while service._streams._taken:
            await asyncio.sleep(0.01)
        return detection

    detection = talk(like_home_assistant)
    assert detection.name == "hey_robin" and detection.timestamp == pytest.approx(900, abs=150)


def test_audio_without_the_word_is_not_detected_and_the_next_stretch_is_heard_anew(talk, sound):
    async def twice(port, service):
        async with connect(port) as client:
            await send(client, sound(0.7).tobytes())
            first = await answers(client)
            await send(client, sound(1.5).tobytes())
            return first, await answers(client)

    first, second = talk(twice)
    assert [NotDetected.is_type(event.type) for event in first] == [True]
    assert len(detections(second)) == 1 and detections(second)[0][1] == pytest.approx(900, abs=150)
    assert not any(NotDetected.is_type(event.type) for event in second)


def test_audio_needs_no_start_and_may_be_cut_anywhere(talk, model, sound):
    data = sound(3.5).tobytes()

    async def cut(port, service):
        async with connect(port) as client:
            for start in range(0, len(data), 1_001):
                await client.write_event(AudioChunk(**FORMAT, audio=data[start : start + 1_001]).event())
            await client.write_event(AudioStop().event())
            return await answers(client)

    expected = [("hey_robin", round(1_000 * one.time)) for one in model.detect(sound(3.5))]
    assert detections(talk(cut)) == expected


def as_written(pcm, width, channels):
    """Int16 samples in another format."""
    wide = pcm.astype(np.int64)[:, None].repeat(channels, 1)
    if width == 1:
        return ((wide + 128 >> 8).clip(-128, 127) + 128).astype(np.uint8).tobytes()
    words = (wide << 8 * (width - 2)).astype("<i8")
    return words.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()


@pytest.mark.parametrize(
    ("rate", "width", "channels"), [(44_100, 2, 2), (48_000, 3, 1), (8_000, 4, 2), (22_050, 1, 1), (16_000, 4, 8)]
)
def test_other_formats_are_converted(talk, sound, rate, width, channels):
    data = as_written(sound(3.0, rate=rate), width, channels)
    form = {"rate": rate, "width": width, "channels": channels}
    found = detections(talk(lambda port, service: heard(port, data, form=form)))
    assert [time for _, time in found] == pytest.approx([900, 2_400], abs=150)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_sample_has_one_value_in_every_width(width):
    pcm = np.array([-32_768, -256, 0, 256, 32_512], np.int16)
    form = wyoming._Format(rate=16_000, width=width, channels=2)
    assert wyoming.mono_pcm(as_written(pcm, width, 2), form).tolist() == pcm.tolist()


def test_two_models_hear_one_client_and_each_what_it_is_asked_for(talk, make_model, tmp_path, sound):
    deaf = make_model(tmp_path / "deaf", bias=1.0, threshold=0.99, labels=("_negative", "computer"))
    keen = make_model(tmp_path / "keen", bias=1.0, threshold=0.5, labels=("_negative", "okay house"))
    data = sound(1.5, level=400).tobytes()

    async def all_at_once(port, service):
        asked = [None, ["okay_house"], ["computer"], ["computer", "hey_robin"], []]
        return await asyncio.gather(*(heard(port, data, names=names) for names in asked))

    found = [{name for name, _ in detections(events)} for events in talk(all_at_once, others=[deaf, keen])]
    both = {"hey_robin", "okay_house"}
    assert found == [both, {"okay_house"}, set(), {"hey_robin"}, both]


def test_two_models_of_one_word_are_refused(make_model, folder, tmp_path):
    other = make_model(tmp_path / "other", labels=("_negative", "hey  robin"))
    service = Service(ServingConfig(), folder, others=[other])
    with pytest.raises(ConfigError, match="both hear 'hey  robin', and clients could not tell them apart"):
        wyoming.words_of(service.cascades)


def test_a_judge_confirms_what_clients_are_told(talk, make_model, sound, tmp_path):
    judge = make_model(tmp_path / "judge", bias=1.0)
    data = sound(3.5, level=400).tobytes()
    for threshold, times in ((0.1, 2), (0.9, 0)):
        events = talk(lambda port, service: heard(port, data), judge=judge, cascade={"judge_threshold": threshold})
        assert len(detections(events)) == times
        assert [event.type for event in events[times:]] == (["not-detected"] if not times else [])


def test_twenty_clients_at_once_hear_their_own_words(talk, model, sound):
    clips = [sound(1.5 + 0.1 * seed, seed) for seed in range(20)]
    expected = [[("hey_robin", round(1_000 * one.time)) for one in model.detect(clip)] for clip in clips]

    async def together(port, service):
        return await asyncio.gather(*(heard(port, clip.tobytes()) for clip in clips))

    assert [detections(events) for events in talk(together)] == expected
    assert len({tuple(one) for one in expected}) > 1


def test_while_a_model_works_others_are_answered(talk, sound, monkeypatch):
    let_go, push = threading.Event(), Listening.push
    monkeypatch.setattr(Listening, "push", lambda *given: let_go.wait(PATIENCE) and push(*given))
    monkeypatch.setattr(Service, "_warm_up", lambda service: None)

    async def beside(port, service):
        async with connect(port) as busy, connect(port) as other:
            await send(busy, sound(1.5).tobytes())
            while not service._streams._taken:
                await asyncio.sleep(0.01)
            assert await answers(other) == []
            let_go.set()
            return await answers(busy)

    assert len(detections(talk(beside))) == 1


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


def test_events_of_other_matters_are_passed_over(talk, sound):
    async def chatty(port, service):
        async with connect(port) as client:
            await client.write_event(Event("select-program", {"name": "other"}))
            await client.write_event(Event("run-satellite", {"x": "ü"}, b"payload"))
            await client.write_event(AudioStop().event())
            first = await answers(client)
            await send(client, sound(1.5).tobytes())
            return first, await answers(client)

    first, events = talk(chatty)
    assert [event.type for event in first] == ["not-detected"] and len(detections(events)) == 1


def test_the_format_may_not_change_within_a_stretch_but_a_wrong_start_is_forgiven(talk, sound):
    async def changing(port, service):
        async with connect(port) as client:
            await client.write_event(AudioStart(8_000, 4, 2).event())
            await client.write_event(AudioChunk(**FORMAT, audio=sound(1.5).tobytes()).event())
            await client.write_event(AudioChunk(44_100, 2, 1, audio=b"xx").event())
            return await answers(client)

    *events, error = talk(changing)
    assert len(detections(events)) == 1 and error.data["code"] == "format_changed"


def test_more_clients_than_allowed_are_refused(talk, sound, monkeypatch, caplog):
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
    monkeypatch.setattr(wyoming, "_MORE_CONNECTIONS", 0)

    async def too_many_connections(port, service):
        async with connect(port) as first, connect(port) as second:
            assert await answers(first) == []
            return Error.from_event(await second.read_event()).code, await answers(first)

    assert talk(too_many_connections, max_streams=1) == ("too_many_connections", [])
    assert "2 streams are open" in caplog.text and "1 clients are connected" in caplog.text


def test_a_model_that_fails_ends_one_client_alone(talk, sound, monkeypatch, caplog):
    async def failing(port, service):
        with monkeypatch.context() as broken:
            broken.setattr(Listening, "push", lambda *given: 1 / 0)
            assert await heard(port, sound(0.1).tobytes()) == []
        return await heard(port, sound(1.5).tobytes())

    assert len(detections(talk(failing))) == 1
    assert "division by zero" in caplog.text and not any("sound" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("end", [True, False])
def test_at_the_end_clients_are_closed(folder, sound, end):
    async def main():
        with Service(ServingConfig(), folder) as service, listening_socket("127.0.0.1", 0) as listener:
            async with Satellites(service, listener):
                client = connect(listener.getsockname()[1])
                await client.connect()
                await send(client, sound(0.1).tobytes(), stop=end)
                await answers(client)
            assert await client.read_event() is None
            await client.disconnect()
            assert not service._streams._taken

    asyncio.run(main())


@pytest.mark.parametrize(
    "address",
    ["", "tcp://", "tcp://a", "tcp://:1", "10400", "0.0.0.0:10400", "http://a:1", "tcp://a:x", "tcp://a:70000",
     "tcp://a:1/x", "tcp://b@a:1", "unix:///a", "tcp://a:1?x", "tcp://[::1:1"],
)  # fmt: skip
def test_what_is_no_address(address):
    with pytest.raises(ValidationError, match=r"like tcp://127\.0\.0\.1:10400"):
        ServingConfig(wyoming=address)


def test_addresses():
    assert tcp_address("tcp://0.0.0.0:10400") == ("0.0.0.0", 10_400) and tcp_address("tcp://[::1]:0") == ("::1", 0)
    with pytest.raises(ValidationError, match="nothing is served without HTTP"):
        ServingConfig(http=False)
