"""The WebSocket: the runtime's scores and events, however the audio is cut, and what a stream may not do."""

import json

import numpy as np
import pytest
import soundfile
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from wakeword_core.audio import StreamResampler, from_pcm16, resample
from wakeword_core.runtime import Detector
from wakeword_core.runtime.captures import captures_in, read_facts
from wakeword_core.serving import stream_route
from wakeword_core.serving.stream_route import Pace

FAST = {"stream_speed": 1_000.0}


def hear(client, chunks, rate=None, **options):
    """Every message about a stream that is ended."""
    with client.websocket_connect("/v1/stream", **options) as stream:
        if rate is not None:
            stream.send_text(json.dumps({"sample_rate": rate}))
        for chunk in chunks:
            stream.send_bytes(chunk)
        stream.send_text('{"type": "end"}')
        return all_of(stream)


def all_of(stream):
    """What is still to come, the close as the last."""
    messages = []
    while True:
        try:
            messages.append(stream.receive_json())
        except WebSocketDisconnect as closed:
            return [*messages, closed.code]


def cut(data, sizes):
    pieces, start, turn = [], 0, 0
    while start < len(data):
        pieces.append(data[start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    return pieces


@pytest.mark.parametrize("sizes", [[1_000_000], [2_560], [7, 3_001, 1, 0, 12_000]])
def test_a_stream_has_the_runtimes_scores_and_events(serving, model, sound, sizes):
    pcm = sound(3.5)
    detector = Detector(model)
    expected = detector.process(pcm)
    data = pcm.astype("<i2").tobytes()
    sizes = [size or 1 for size in sizes]
    with serving(**FAST, stream_message_bytes=2**21) as client:
        *messages, code = hear(client, [*cut(data, sizes), b""])
    rows = np.concatenate([one["scores"] for one in messages if one["type"] == "scores"])
    np.testing.assert_allclose(rows, detector.scores, atol=2e-4)
    starts = {one["start"]: one["step"] for one in messages if one["type"] == "scores"}
    assert min(starts) == round(detector.times[0], 4) and set(starts.values()) == {0.04}
    events = [one for one in messages if one["type"] == "event"]
    assert [one["time"] for one in events] == [round(one.time, 3) for one in expected] and len(expected) == 2
    assert {one["word"] for one in events} == {"hey robin"} and code == 1_000


def test_the_end_of_a_stream_is_followed_by_quiet_and_silence_gets_a_hint(serving, model, sound):
    """What is heard last is what `WakewordModel.detect` finds in the same audio."""
    pcm = sound(3.5)
    for end in range(12_000, 16_000, 500):
        with serving(**FAST) as client:
            *messages, _ = hear(client, cut(pcm[:end].tobytes(), [3_200]))
        expected = [round(event.time, 3) for event in model.detect(pcm[:end])]
        assert [one["time"] for one in messages if one["type"] == "event"] == expected
    with serving(**FAST) as client:
        *messages, _ = hear(client, cut(np.zeros(48_000, np.int16).tobytes(), [32_000]))
    (hint,) = [one for one in messages if one["type"] == "hint"]
    assert "every sample is the same" in hint["detail"]


def test_another_rate_is_resampled(serving, model, sound):
    with serving(**FAST) as client:
        *messages, _ = hear(client, cut(sound(3.0, rate=44_100).tobytes(), [20_000]), rate=44_100)
    events = [one["time"] for one in messages if one["type"] == "event"]
    assert len(events) == 2 and events == pytest.approx([0.9, 2.4], abs=0.15)


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (8_000, 16_000), (16_000, 16_000)])
def test_a_resampled_stream_is_the_resampled_whole(sound, source, target):
    x = from_pcm16(sound(1.0, rate=source))
    resampler = StreamResampler(source, target)
    pieces = [resampler.push(piece) for piece in cut(x, [701, 3, 5_000])]
    np.testing.assert_allclose(np.concatenate([*pieces, resampler.finish()]), resample(x, source, target), atol=1e-4)


def test_scores_and_levels_of_each_second_are_counted(serving, model, sound):
    """Three seconds of a stream, and two wake words in it, of which no upload and no warming up is part."""
    pcm = sound(3.5)
    with serving(**FAST) as client:
        hear(client, cut(pcm.tobytes(), [3_200]))
        text = client.get("/metrics").text
    counted = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    rounds = [pcm[start : start + 16_000].astype(float) / 32_768 for start in (0, 16_000, 32_000)]
    levels = [10 * np.log10(np.mean(one**2)) for one in rounds]
    assert counted["wakeword_peak_score_count"] == counted['wakeword_level_dbfs_count{of="input"}'] == 3
    for limit in (-30, -24, -18):
        below = counted[f'wakeword_level_dbfs_bucket{{le="{limit:.1f}",of="input"}}']
        assert below == sum(level <= limit for level in levels)
    assert counted['wakeword_level_dbfs_count{of="event"}'] == 2
    loud = counted["wakeword_peak_score_count"] - counted['wakeword_peak_score_bucket{le="0.5"}']
    assert loud >= 2
    (threshold,) = [value for name, value in counted.items() if name.startswith("wakeword_threshold{")]
    assert threshold == pytest.approx(model.threshold)


def test_with_a_judge_events_wait_and_can_be_refused(serving, make_model, sound, tmp_path):
    judge = make_model(tmp_path / "judge", bias=1.0, threshold=0.1)
    data = cut(sound(3.5, level=400).tobytes(), [3_200])
    policy = {"after_seconds": 0.4}
    with serving(judge=judge, cascade=policy, **FAST) as client:
        *messages, _ = hear(client, data)
        clip = client.post("/v1/verify", content=b"", headers={})
    kinds = [one["type"] for one in messages]
    events = [one for one in messages if one["type"] == "event"]
    assert clip.status_code == 422 and len(events) == 2
    seen = messages[: kinds.index("event")][-1]
    assert seen["start"] + seen["step"] * len(seen["scores"]) >= events[0]["time"] + 0.4
    with serving(judge=judge, cascade={**policy, "judge_threshold": 0.9}, **FAST) as client:
        assert "event" not in [one["type"] for one in hear(client, data)[:-1]]
        assert 'accepted="false",decided_by="judge",source="stream"} 2.0' in client.get("/metrics").text


def test_a_judged_stream_keeps_no_more_than_the_judge_needs(serving, make_model, sound, tmp_path):
    judge = make_model(tmp_path / "judge", threshold=0.1)
    with serving(judge=judge) as client:
        listening = client.service.listening(16_000)
        kept = []
        for piece in cut(sound(12.0), [4_000]):
            listening.push(piece)
            kept.append(len(listening._around._kept))
    assert max(kept) <= (2.0 + 0.5 + 0.25) * 16_000 + 2 and kept[-1] >= 2.0 * 16_000


def refusal(stream):
    """The error and the close code after it."""
    error, code = all_of(stream)[-2:]
    assert error["type"] == "error" and error["detail"]
    return error["code"], code


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "5", "null", '{"sample_rate": "16000"}', '{"sample_rate": 16000.5}', '{"sample_rate": true}',
     '{"type": "start"}', "[" * 100_000, '{"sample_rate": 16000, "x": 1}'],
)  # fmt: skip
def test_text_that_means_nothing_is_an_error(serving, text):
    with serving() as client, client.websocket_connect("/v1/stream") as stream:
        stream.send_text(text)
        assert refusal(stream) == ("unknown_message", 1_008)


def test_what_a_stream_may_not_do(serving, sound):
    with serving(max_streams=1, stream_message_bytes=1_000, stream_idle_seconds=0.3) as client:
        with client.websocket_connect("/v1/stream") as first:
            with client.websocket_connect("/v1/stream") as second:
                assert refusal(second) == ("too_many_streams", 1_013)
            assert refusal(first) == ("idle", 1_008)
        with client.websocket_connect("/v1/stream") as stream:
            stream.send_bytes(b"x" * 1_001)
            assert refusal(stream) == ("message_too_large", 1_009)
        for rate in (1, 768_000, -16_000, 10**30):
            with client.websocket_connect("/v1/stream") as stream:
                stream.send_text(json.dumps({"sample_rate": rate}))
                assert refusal(stream) == ("sample_rate", 1_008)
        with client.websocket_connect("/v1/stream") as stream:
            stream.send_bytes(sound(0.01).tobytes())
            stream.send_text('{"sample_rate": 8000}')
            assert refusal(stream) == ("unknown_message", 1_008)
        assert "wakeword_streams 0.0" in client.get("/metrics").text


def test_without_the_token_no_stream_is_opened(refused, serving):
    given = [
        ({"headers": {"Authorization": "Bearer secret"}}, True),
        ({"subprotocols": ["bearer", "secret"]}, True),
        ({}, False),
        ({"headers": {"Authorization": "Bearer wrong"}}, False),
        ({"headers": {"Authorization": "Basic secret"}}, False),
        ({"subprotocols": ["bearer", "wrong"]}, False),
        ({"subprotocols": ["secret", "bearer"]}, False),
        ({"subprotocols": ["bearer"]}, False),
    ]
    with serving(token="secret", **FAST) as client:
        for options, allowed in given:
            opening = client.websocket_connect("/v1/stream?token=secret", **options)
            if allowed:
                with opening as stream:
                    stream.send_text('{"type": "end"}')
                    assert all_of(stream) == [1_000]
                    assert stream.accepted_subprotocol in (None, "bearer")
            else:
                with pytest.raises(WebSocketDenialResponse) as denied, opening:
                    pytest.fail("it was opened")
                refused(denied.value, 401, "unauthorized")


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"host": "evil.example"}, {"origin": "null"}])
def test_other_pages_and_names_are_refused_before_anything_is_opened(serving, headers):
    with (
        serving() as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/stream", headers=headers),
    ):
        pytest.fail("it was opened")


def test_who_is_faster_than_allowed_is_slowed_down(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(stream_route.time, "monotonic", lambda: clock[0])
    pace = Pace(4.0)
    assert pace.pause(2.0) == 0.0  # the burst
    assert pace.pause(4.0) == pytest.approx(1.0)
    clock[0] += 1.0
    assert pace.pause(0.0) == pytest.approx(0.001 / 4)  # even an empty message counts
    clock[0] += 100.0
    assert pace.pause(2.0) == 0.0 and pace.pause(0.4) == pytest.approx(0.1)


def test_nothing_is_kept_unless_a_folder_is_named(serving, sound, tmp_path, monkeypatch, encode):
    monkeypatch.chdir(tmp_path)
    with serving(**FAST) as client:
        hear(client, cut(sound(3.5).tobytes(), [3_200]))
        client.post("/v1/verify", content=encode(sound()), headers={"content-type": "audio/wav"})
        assert client.get("/v1/model").json()["keeps"] is False
    assert list(tmp_path.iterdir()) == []


def test_what_is_heard_is_kept_where_a_folder_is_named(serving, make_model, sound, encode, tmp_path):
    """Wake words of streams and uploads, and those that a judge refused, each with its sound and its score."""
    folder, data = tmp_path / "kept", cut(sound(3.5).tobytes(), [3_200])
    keep = {"folder": str(folder), "before_seconds": 0.5, "after_seconds": 0.5, "near": 0.9}
    with serving(**FAST, keep=keep) as client:
        *messages, _ = hear(client, data)
        assert client.get("/v1/model").json()["keeps"] is True
        client.post("/v1/verify", content=encode(sound()), headers={"content-type": "audio/wav"})
    events = [one for one in messages if one["type"] == "event"]
    found = captures_in(folder)
    kinds = [one.kind for one in found]
    assert kinds.count("event") >= len(events) + 1 and set(kinds) <= {"event", "near_miss"}
    facts = read_facts(found[0])
    assert facts["model"] == "artifact-key" and facts["word"] == "hey robin" and 0.5 < facts["score"] <= 1
    assert soundfile.info(found[0].sound).duration == pytest.approx(1.0, abs=0.05)
    judge = make_model(tmp_path / "judge", bias=1.0, threshold=0.1)
    refusing, data = {"judge_threshold": 0.9, "after_seconds": 0.4}, cut(sound(3.5, level=400).tobytes(), [3_200])
    with serving(judge=judge, cascade=refusing, keep={**keep, "folder": str(tmp_path / "refused")}, **FAST) as client:
        assert "event" not in [one["type"] for one in hear(client, data)[:-1]]
    assert "refused" in {one.kind for one in captures_in(tmp_path / "refused")}


def test_an_upload_is_kept_as_it_was_without_the_quiet_that_a_model_hears_after_it(serving, sound, encode, tmp_path):
    kept, pcm = {"folder": str(tmp_path), "after_seconds": 10.0}, sound(0.9)
    with serving(**FAST, keep=kept) as client:
        answer = client.post("/v1/verify", content=encode(pcm), headers={"content-type": "audio/wav"}).json()
        *messages, _ = hear(client, [pcm.tobytes()])
    (event,) = answer["events"]
    assert event in [{name: one[name] for name in event} for one in messages if one["type"] == "event"]
    for capture in captures_in(tmp_path):
        assert soundfile.read(capture.sound, dtype="int16")[0].tolist() == pcm.tolist()
        assert read_facts(capture)["before_seconds"] == pytest.approx(event["time"], abs=0.002)


def test_a_client_that_goes_at_the_wake_word_takes_no_sound_with_it(serving, sound, tmp_path, eventually):
    """As clients do that then listen to the command: without an end."""
    kept = {"folder": str(tmp_path), "after_seconds": 10.0}
    with serving(**FAST, keep=kept) as client, client.websocket_connect("/v1/stream") as stream:
        stream.send_bytes(sound(1.5).tobytes())
        while stream.receive_json()["type"] != "event":
            pass
        assert captures_in(tmp_path) == []
        stream.close()
        eventually(lambda: list(tmp_path.glob("*.flac")))
    (capture,) = captures_in(tmp_path)
    assert capture.kind == "event" and soundfile.info(capture.sound).duration == pytest.approx(1.5, abs=0.01)
