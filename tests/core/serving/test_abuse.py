"""What must be refused: always with a problem that says why, never with a 500, and before the work it would make."""

import asyncio
import struct
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from wakeword_core import audio
from wakeword_core.config import ServingConfig
from wakeword_core.serving.service import Service
from wakeword_core.serving.verification import Verifier

OCTETS = {"Content-Type": "application/octet-stream"}


def header(rate=16_000, channels=1, frames=16_000, code=1, bits=16):
    """A WAV header that may say anything, and a second of silence."""
    block = channels * bits // 8
    data = b"\0" * min(frames * block, 200_000)
    form = struct.pack("<HHIIHH", code, channels, rate, min(rate * block, 2**32 - 1), block, bits)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + (
        struct.pack("<I", len(data)) + data
    )  # fmt: skip


@pytest.fixture
def client(serving):
    with serving() as one:
        yield one


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "empty"),
        (b"RIFF", 415, "unsupported_audio"),
        (b"fLaC" + b"\0" * 100, 422, "broken_audio"),
        (b"fLaC" + b"\0" * 5, 422, "broken_audio"),
        (b"OggS" + b"\xff" * 100, 422, "broken_audio"),
        (b"<html>not audio</html>", 415, "unsupported_audio"),
        (b"ID3\x04" + b"\0" * 100, 422, "broken_audio"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 100, 422, "broken_audio"),
        (b"\0\0\0\x18ftypM4A " + b"\0" * 100, 422, "broken_audio"),
        (b"RIFF\0\0\0\x20AVI LIST", 415, "unsupported_audio"),
        (b"#EXTM3U\n/etc/passwd\n", 415, "unsupported_audio"),
        (b"FORM\0\0\0\x10AIFF", 415, "unsupported_audio"),
        (header(frames=0), 422, "too_short"),
        (header(frames=10), 422, "too_short"),
        (header(rate=1), 422, "broken_audio"),
        (header(rate=0), 422, "broken_audio"),
        (header(rate=3_999), 422, "sample_rate"),
        (header(rate=768_000), 422, "sample_rate"),
        (header(rate=2**32 - 1), 422, "broken_audio"),
        (header(channels=9), 422, "channels"),
        (header(channels=1_024, frames=50), 422, "channels"),
        (header(channels=0), 422, "broken_audio"),
        (header(bits=0), 422, "broken_audio"),
        (header(code=99), 422, "broken_audio"),
    ],
)
def test_files_that_are_no_audio(refused, client, data, status, code):
    refused(client.post("/v1/verify", content=data, headers=OCTETS), status, code)
    if data:
        refused(client.post("/v1/verify", files={"file": ("a", data)}), status, code)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(refused, client, sound, encode, value):
    x = sound() / 32_768
    x[20_000] = value
    problem = refused(
        client.post("/v1/verify", content=encode(x, 48_000, subtype="FLOAT"), headers=OCTETS), 422, "broken_audio"
    )
    assert "NaN" in problem.detail


def test_samples_beyond_all_bounds_are_clipped(client, encode):
    x = np.full((32_000, 2), 3e38)
    x[::2] = -3e38
    for channels in (1, 2):
        response = client.post("/v1/verify", content=encode(x[:, :channels], 48_000, subtype="FLOAT"), headers=OCTETS)
        assert response.status_code in (200, 422)


@pytest.mark.parametrize(("format", "share"), [("WAV", 0.5), ("FLAC", 0.5), ("FLAC", 0.01), ("OGG", 0.01)])
def test_files_that_are_cut(refused, client, sound, encode, format, share):
    data = encode(sound(), format=format)
    refused(client.post("/v1/verify", content=data[: int(len(data) * share)], headers=OCTETS), 422, "broken_audio")


@pytest.mark.parametrize(("format", "channels"), [("FLAC", 1), ("FLAC", 8), ("OGG", 1)])
def test_a_bomb_is_refused_by_its_header(refused, client, encode, monkeypatch, format, channels):
    bomb = encode(np.zeros((600 * 16_000 // channels, channels), np.int16), format=format)
    assert len(bomb) < 600_000
    monkeypatch.setattr(audio, "to_mono", lambda *given: pytest.fail("it was decoded"))
    if channels == 1:
        assert "600.0 s" in refused(client.post("/v1/verify", content=bomb, headers=OCTETS), 413, "too_long").detail
    else:
        refused(client.post("/v1/verify", content=bomb, headers=OCTETS), 413, "too_long")


def test_a_header_that_promises_too_little_bounds_what_is_decoded(client, encode):
    """A FLAC file whose header says one second, with the frames of ten minutes behind it."""
    bomb = bytearray(encode(np.zeros(600 * 16_000, np.int16), format="FLAC"))
    bomb[21] = bomb[21] & 0xF0
    bomb[22:26] = (16_000).to_bytes(4, "big")
    tracemalloc.start()
    response = client.post("/v1/verify", content=bytes(bomb), headers=OCTETS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert response.status_code in (200, 422) and peak < 30e6


def test_an_upload_that_is_too_large(refused, serving):
    pieces = [b"x" * 1_000] * 11
    with serving(max_bytes=10_000) as client:
        lengths = {"Content-Length": "20000000000", **OCTETS}
        refused(client.post("/v1/verify", content=iter(pieces), headers=lengths), 413, "too_large")
        refused(client.post("/v1/verify", files={"file": ("a.wav", b"RIFF" + b"x" * 10_000)}), 413, "too_large")
        refused(client.post("/v1/verify", files={"file": ("a.wav", b"RIFF" + b"x" * 30_000)}), 413, "too_large")
        refused(client.post("/v1/verify", content=b"x" * 10_001, headers=OCTETS), 413, "too_large")
        assert (
            "10,000 bytes"
            in refused(client.post("/v1/verify", content=iter(pieces), headers=OCTETS), 413, "too_large").detail
        )
        refused(client.post("/v1/verify", content=b"x" * 10_000, headers=OCTETS), 415, "unsupported_audio")


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "audio/amr", "multipart/mixed", "", "/", "audio/*"])
def test_types_that_are_not_taken(refused, client, kind):
    refused(client.post("/v1/verify", content=b"RIFF", headers={"Content-Type": kind}), 415, "unsupported_type")


def part(disposition):
    return b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\nx\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        ("", b"x"),
        ("; boundary=", b"x"),
        ("; boundary=b", b""),
        ("; boundary=b", b"--b--\r\n"),
        ("; boundary=b", part(b"form-data")),
        ("; boundary=b", part(b'form-data; name="file"')),
        ("; boundary=b", part(b'form-data; name="x"; filename="x"')),
        ("; boundary=b; charset=undefined", part(b'form-data; name="\xff"; filename="x"')),
        ("; boundary=b; charset=zlib", part(b'form-data; name="x"; filename="x"')),
        ("; boundary=" + "b" * 300, b"--b\r\n\r\n" * 100),
    ],
)
def test_broken_forms(refused, client, parameters, body):
    headers = {"Content-Type": "multipart/form-data" + parameters}
    refused(client.post("/v1/verify", content=body, headers=headers), 422, "broken_form")


def test_a_form_of_many_parts(refused, client):
    refused(client.post("/v1/verify", files=[("file", ("a", b"x"))] * 3), 422, "broken_form")
    refused(client.post("/v1/verify", files={"file": ("a", b"x")}, data={"more": "y"}), 422, "broken_form")


MAGIC = st.sampled_from(
    [b"", b"RIFF", b"RIFF\x24\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\x02", header()[:44], header()[:300]]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    MAGIC,
    st.binary(max_size=400),
    st.sampled_from(["audio/wav", "application/octet-stream", "multipart/form-data; boundary=x"]),
)
def test_random_bytes_are_never_a_500(lasting, start, rest, kind):
    headers = {"Content-Type": kind, "Authorization": "Bearer secret"}
    response = lasting.post("/v1/verify", content=start + rest, headers=headers)
    assert response.status_code in (200, 413, 415, 422), response.text


def test_a_recording_without_a_length_is_refused_when_it_grows_too_long(refused, client, record):
    bomb = record(np.zeros(100 * 48_000), 48_000, "webm", "libopus")
    assert len(bomb) < 200_000
    assert "allowed" in refused(client.post("/v1/verify", content=bomb, headers=OCTETS), 413, "too_long").detail


def test_a_file_that_looks_like_nothing_but_frames_takes_no_longer_than_others(refused, client):
    began = time.monotonic()
    data = b"fLaC" + b"\0" * 22 + b"\xff\xf8" * 65_000
    refused(client.post("/v1/verify", content=data, headers=OCTETS), 422, "broken_audio")
    assert time.monotonic() - began < 5


def test_without_pyav_what_needs_it_is_refused(refused, client, record, monkeypatch):
    monkeypatch.setattr("wakeword_core.serving.uploads.av_version", lambda: "")
    data = record(np.zeros(16_000), 48_000, "webm", "libopus")
    problem = refused(client.post("/v1/verify", content=data, headers=OCTETS), 415, "unsupported_audio")
    assert "matroska" in problem.detail and "send a WAV" in problem.detail and "pip" not in problem.detail


KINDS = [
    ("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"),
    ("webm", "libopus"), ("mp4", "aac"), ("adts", "aac"),
]  # fmt: skip


@pytest.fixture(scope="module")
def wholes(encode, record, sound):
    """A file of each kind."""
    pcm = sound(0.8)
    return {
        kind: encode(pcm, 16_000, *kind) if kind[0].isupper() else record(pcm / 32_768, 16_000, *kind) for kind in KINDS
    }


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_files_are_never_a_500(lasting, wholes, data):
    whole = bytearray(wholes[data.draw(st.sampled_from(KINDS))])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, min(len(whole) - 1, 600)))] = data.draw(st.integers(0, 255))
    headers = {**OCTETS, "Authorization": "Bearer secret"}
    response = lasting.post("/v1/verify", content=bytes(whole), headers=headers)
    assert response.status_code in (200, 413, 415, 422), response.text


def test_the_api_does_what_openapi_says(new_app):
    """All but that what fits the schema is accepted: a schema cannot say which bytes are audio."""
    import schemathesis  # by the one process that runs this test
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_asgi("/openapi.json", new_app())
    config = settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @config
        @given(operation.as_strategy() | operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
        def check(case):
            response = case.call(headers={"Authorization": "Bearer secret"})
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            seen.add((case.method, case.path))

        check()
    assert len(seen) == 6


@pytest.fixture
def held(monkeypatch):
    """Verifications that last until they are let go; the second tells how many began."""
    let_go, began, verify = threading.Event(), [], Verifier.verify

    def slow(self, data, work):
        if threading.current_thread().name.startswith("wakeword-upload"):
            began.append(work)
            let_go.wait(10)
        return verify(self, data, work)

    monkeypatch.setattr(Verifier, "verify", slow)
    yield let_go, began
    let_go.set()


def test_a_full_queue_is_429_and_not_ready(refused, serving, held, sound, encode, eventually):
    let_go, _ = held
    data = encode(sound(0.5))
    with serving(queue_length=2, workers=1) as client:
        answers = []
        ask = [
            threading.Thread(
                target=lambda: answers.append(client.post("/v1/verify", content=data, headers=OCTETS).status_code)
            )
            for _ in range(2)
        ]
        for one in ask:
            one.start()
        eventually(lambda: client.service.is_full)
        response = client.post("/v1/verify", content=data, headers=OCTETS)
        refused(response, 429, "queue_full")
        assert response.headers["retry-after"] == "1"
        refused(client.get("/ready"), 503, "queue_full")
        assert client.get("/health").status_code == 200 and "wakeword_queue_depth 2.0" in client.get("/metrics").text
        let_go.set()
        for one in ask:
            one.join()
        assert answers == [200, 200] and client.get("/ready").status_code == 200


def test_an_answer_that_takes_too_long_is_503_and_its_work_is_dropped(
    refused, serving, held, sound, encode, eventually
):
    let_go, began = held
    with serving(answer_seconds=0.1, workers=1) as client:
        for _ in range(2):  # the second never gets a worker
            response = client.post("/v1/verify", content=encode(sound(0.5)), headers=OCTETS)
            refused(response, 503, "timeout")
            assert response.headers["retry-after"] == "1"
        let_go.set()
        eventually(lambda: not client.service._uploads._work_queue.qsize())
        assert len(began) == 1 and began[0].abandoned.is_set() and "decode" not in began[0].timings_ms
        assert not client.service._queue._taken


def test_the_work_of_a_client_that_has_gone_is_dropped(held, folder, sound, encode):
    let_go, began = held

    async def gone():
        while not began:
            await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with Service(ServingConfig(), folder) as service:
        with pytest.raises(ClientDisconnect):
            asyncio.run(service.verify(encode(sound()), SimpleNamespace(receive=gone)))
        let_go.set()
    assert began[0].abandoned.is_set() and "decode" not in began[0].timings_ms


def test_a_failure_is_told_without_its_reason_and_does_not_stay(refused, serving, monkeypatch, sound, encode, caplog):
    with serving() as client:
        model = client.service.cascade.sentry.model
        with monkeypatch.context() as broken:
            broken.setattr(model, "score_stream_windows", lambda windows: 1 / 0)
            problem = refused(client.post("/v1/verify", content=encode(sound()), headers=OCTETS), 500, "internal_error")
        assert "zero" not in problem.detail and "division by zero" in caplog.text
        failed = 'wakeword_requests_total{method="POST",route="/v1/verify",status="500"} 1.0'
        assert failed in client.get("/metrics").text
        assert client.post("/v1/verify", content=encode(sound()), headers=OCTETS).status_code == 200
