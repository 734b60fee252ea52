"""A Wyoming client as Home Assistant is one, with the library's own."""

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection

FORMAT = {"rate": 16_000, "width": 2, "channels": 1}
CHUNK = 1_024
PATIENCE = 20.0


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
