"""A server that follows its home: a promotion reaches what begins after it, and drops nothing that is open."""

import asyncio
import gc
import threading
import time
from types import SimpleNamespace

import pytest
from loud_model import save_model
from satellite import CHUNK, FORMAT, answers, connect, detections, send
from wyoming.audio import AudioChunk, AudioStop
from wyoming.info import Describe, Info

from wakeword_core.config import Config, ServingConfig
from wakeword_core.registry.history import Entry, Registry, delivered_bundle
from wakeword_core.serving.following import Follower
from wakeword_core.stage_names import BUNDLE, MODEL
from wakeword_core.store.artifacts import ArtifactStore

FIRST, SECOND, THIRD = ("a" * 20, "b" * 20, "c" * 20)
DEAF = -60.0
"""A bias with which no score of the sounds here comes near the threshold."""


class Home:
    """A home with bundles of models, and a registry of who is champion."""

    def __init__(self, folder):
        self.path, self.config = folder, Config.model_validate({"phrase": "hey robin"})
        self.store = ArtifactStore(folder / "store")

    def promote(self, key, **model):
        made, settings = {MODEL: {"stage": MODEL, "key": key, "content": key}}, {"phrase": "hey robin"}
        self.store.build(BUNDLE, made, settings, "1", lambda build: save_model(build.path, key=key, **model))
        with Registry.of(self.path, self.config).changing() as registry:
            registry.adding(Entry(key, "promoted", "for the test", "gate"))

    def follower(self, service, **serving):
        settings = {f"serving.{name}": value for name, value in serving.items()}
        return Follower(service, self.path, self.config.changed(settings))

    @property
    def champion(self):
        return delivered_bundle(self.path, self.config).path


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.promote(FIRST)
    return made


def push(stream, pcm):
    stream.send_bytes(pcm.astype("<i2").tobytes())
    return stream.receive_json()


def scorers():
    return sum(thread.name == "wakeword-batches" for thread in threading.enumerate())


def test_open_streams_go_on_and_new_ones_get_the_new_champion(home, serving, sound, eventually):
    pcm, silent = sound(1.5), {"bias": DEAF}
    with serving(sentry=home.champion, stream_speed=1_000.0) as client:
        follower, before = home.follower(client.service), scorers()
        with client.websocket_connect("/v1/stream") as old, client.websocket_connect("/v1/stream") as waiting:
            first = push(old, pcm)
            home.promote(SECOND, **silent)
            follower.look()
            assert client.get("/v1/model").json()["key"] == SECOND and client.get("/ready").status_code == 200
            with client.websocket_connect("/v1/stream") as new:
                assert push(new, pcm)["scores"] != first["scores"]
            assert push(waiting, pcm)["scores"] == first["scores"], "it was open before"
            old.send_bytes(pcm.astype("<i2").tobytes())
            text = client.get("/metrics").text
            assert f'model="{SECOND}"' in text and FIRST not in text and "wakeword_streams 2.0" in text
            assert scorers() == before + 1
            for stream in (old, waiting):
                stream.send_text('{"type": "end"}')
        eventually(lambda: gc.collect() is not None and scorers() == before)


def test_a_champion_that_cannot_be_opened_is_one_line_and_the_old_one_stays(home, serving, caplog):
    with serving(sentry=home.champion) as client:
        follower = home.follower(client.service)
        home.promote(SECOND)
        (home.champion / "model.onnx").write_bytes(b"no model")
        for _ in range(3):
            follower.look()
        home.promote(THIRD, labels=("_negative", "hey robin", "computer"))
        follower.look()
        assert client.get("/v1/model").json()["key"] == FIRST and FIRST in client.get("/metrics").text
    told = [record.message for record in caplog.records if "cannot be served" in record.message]
    assert len(told) == 2 and all(f"and {FIRST} stays" in line for line in told)
    assert "hears hey robin, computer, and this server hey robin; start it again" in told[1]


def test_it_looks_by_itself_while_the_server_runs(home, eventually):
    from fastapi.testclient import TestClient

    from wakeword_core.serving.app import create_app
    from wakeword_core.serving.service import Service

    service = Service(ServingConfig(allowed_hosts=("testserver",)), home.champion)
    following = home.follower(service, follow_seconds=0.1).following()
    with TestClient(create_app(service, beside=following)) as client:
        home.promote(SECOND)
        eventually(lambda: client.get("/v1/model").json()["key"] == SECOND)


def test_a_model_that_is_tried_as_the_server_ends_is_tried_before_the_service_closes(home):
    told, trying = [], threading.Event()

    class SlowToTry:
        cascade = SimpleNamespace(sentry=SimpleNamespace(key=SECOND))

        def change_sentry(self, path):
            trying.set()
            time.sleep(0.3)
            told.append("tried")

    async def serve():
        async with home.follower(SlowToTry()).following():
            await asyncio.to_thread(trying.wait)
        told.append("closed")

    asyncio.run(serve())
    assert told == ["tried", "closed"]


def test_a_wyoming_client_hears_with_the_new_champion_from_its_next_stretch_on(home, talk, sound):
    async def during_a_promotion(port, service):
        follower = home.follower(service)
        follower.look()
        async with connect(port) as client:
            await send(client, sound(0.6).tobytes(), stop=False)
            while not service._streams._taken:
                await asyncio.sleep(0.01)
            home.promote(SECOND, bias=DEAF)
            follower.look()
            await send_on(client, sound(1.5)[9_600:].tobytes())
            first = await answers(client)
            await send(client, sound(1.5).tobytes(), names=["hey_robin"])
            second = await answers(client)
            await client.write_event(Describe().event())
            return first, second, Info.from_event(await client.read_event())

    first, second, told = talk(during_a_promotion)
    assert len(detections(first)) == 1 and detections(second) == []
    assert [model.version for model in told.wake[0].models] == [SECOND]


async def send_on(client, data):
    """The rest of a stretch of audio that has begun."""
    for start in range(0, len(data), 2 * CHUNK):
        await client.write_event(AudioChunk(**FORMAT, audio=data[start : start + 2 * CHUNK]).event())
    await client.write_event(AudioStop().event())
