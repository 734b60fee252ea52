"""A server of a model beside which a judge lies: uploads and streams are decided by both."""

import json

import onnx
import pytest
from loud_model import RATE, save_model
from small_judge import POINTS, save_judge
from starlette.websockets import WebSocketDisconnect

from wakeword_core.audio import encode_wav
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import seal
from wakeword_core.runtime.judge import judged
from wakeword_core.runtime.model import detect_blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, sealed so that a judge can name it, and its judge."""
    made = save_model(tmp_path_factory.mktemp("models") / "judged")
    sealed = onnx.load(made / "model.onnx")
    seal(sealed)
    onnx.save(sealed, made / "model.onnx")
    save_judge(made / "judge.onnx", WakewordModel(made))
    return made


def streamed(client, address, pcm):
    """What a stream tells of the audio."""
    with client.websocket_connect(address) as stream:
        stream.send_bytes(pcm.tobytes())
        stream.send_text('{"type": "end"}')
        heard = []
        with pytest.raises(WebSocketDisconnect):
            while True:
                heard.append(stream.receive_json())
    return heard


def test_uploads_and_streams_are_decided_by_both(serving, folder, sound) -> None:
    pcm = sound(3.0)
    expected = [round(event.time, 3) for event in detect_blocks(judged(WakewordModel(folder)), [pcm])]
    with serving(stream_speed=1_000.0) as client:
        upload = client.post("/v1/verify", content=encode_wav(pcm, RATE), headers={"Content-Type": "audio/wav"}).json()
        described = client.get("/v1/model").json()
        heard = streamed(client, "/v1/stream", pcm)
    assert expected
    assert [event["time"] for event in upload["events"]] == expected
    assert [one["time"] for one in heard if one["type"] == "event"] == expected
    assert upload["threshold"] == POINTS["balanced"]["threshold"]
    assert described["threshold"] == WakewordModel(folder).threshold, "for who runs the model alone, as the page does"
    assert json.dumps(described)


def test_a_stream_may_leave_the_judge_out(serving, folder, sound) -> None:
    pcm = sound(3.0)
    model = WakewordModel(folder)
    with serving(stream_speed=1_000.0) as client:
        both, alone = (streamed(client, f"/v1/stream{query}", pcm) for query in ("", "?alone=true"))
    scores = {
        name: [row for one in heard if one["type"] == "scores" for row in one["scores"]]
        for name, heard in (("both", both), ("alone", alone))
    }
    assert scores["alone"][: len(model.score_audio(pcm)[1])] == pytest.approx(model.score_audio(pcm)[1], abs=1e-4)
    assert scores["both"] != scores["alone"]
    events = [one["time"] for one in alone if one["type"] == "event"]
    assert events == [round(event.time, 3) for event in detect_blocks(model, [pcm])]
