"""Wyoming: the library's own client over a socket, and what it is told."""

import asyncio
import threading

import numpy as np
import pytest
from pydantic import ValidationError
from satellite import FORMAT, PATIENCE, answers, connect, detections, heard, send
from wyoming.audio import AudioChunk, AudioStop
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.wake import Detection, NotDetected

from wakeword_core.config import ServingConfig
from wakeword_core.config.serving import tcp_address
from wakeword_core.errors import ConfigError
from wakeword_core.runtime.captures import captures_in
from wakeword_core.serving import wyoming
from wakeword_core.serving.listening import Listening
from wakeword_core.serving.network import listening_socket
from wakeword_core.serving.service import Service
from wakeword_core.serving.wyoming import Satellites


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


def test_a_detection_comes_before_the_audio_ends_and_the_client_may_just_go(talk, sound, tmp_path):
    async def like_home_assistant(port, service):
        async with connect(port) as client:
            await send(client, sound(1.5).tobytes(), names=["hey_robin"], stop=False)
            detection = Detection.from_event(await client.read_event())
            assert service._streams._taken == 1
        while service._streams._taken:
            await asyncio.sleep(0.01)
        return detection

    detection = talk(like_home_assistant, keep={"folder": str(tmp_path), "after_seconds": 10.0})
    assert detection.name == "hey_robin" and detection.timestamp == pytest.approx(900, abs=150)
    assert [capture.kind for capture in captures_in(tmp_path)] == ["event"]


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

    async def beside(port, service):
        monkeypatch.setattr(Listening, "push", lambda *given: let_go.wait(PATIENCE) and push(*given))
        async with connect(port) as busy, connect(port) as other:
            await send(busy, sound(1.5).tobytes())
            while not service._streams._taken:
                await asyncio.sleep(0.01)
            assert await answers(other) == []
            let_go.set()
            return await answers(busy)

    assert len(detections(talk(beside))) == 1


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
