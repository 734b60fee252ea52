"""What must be refused: always with a problem that says why, never with a 500, and before the work it would make."""

import asyncio
import struct
import threading
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.requests import ClientDisconnect

from wakeword_core import audio
from wakeword_core.config import ServingConfig
from wakeword_core.serving.access import BearerToken
from wakeword_core.serving.answers import Problem
from wakeword_core.serving.app import create_app
from wakeword_core.serving.service import Service
from wakeword_core.serving.verification import Verifier

OCTETS = {"Content-Type": "application/octet-stream"}


def refused(response, status, code):
    """The problem, in its one shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code) and problem.detail
    return problem


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
        (b"RIFF", 422, "broken_audio"),
        (b"fLaC" + b"\0" * 100, 422, "broken_audio"),
        (b"OggS" + b"\xff" * 100, 422, "broken_audio"),
        (b"<html>not audio</html>", 415, "unsupported_audio"),
        (b"ID3\x04" + b"\0" * 100, 415, "unsupported_audio"),
        (b"FORM\0\0\0\x10AIFF", 415, "unsupported_audio"),
        (header(frames=0), 422, "too_short"),
        (header(frames=10), 422, "too_short"),
        (header(rate=1), 422, "sample_rate"),
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
def test_files_that_are_no_audio(client, data, status, code):
    refused(client.post("/v1/verify", content=data, headers=OCTETS), status, code)
    if data:
        refused(client.post("/v1/verify", files={"file": ("a", data)}), status, code)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(client, sound, encode, value):
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
def test_files_that_are_cut(client, sound, encode, format, share):
    data = encode(sound(), format=format)
    refused(client.post("/v1/verify", content=data[: int(len(data) * share)], headers=OCTETS), 422, "broken_audio")


@pytest.mark.parametrize(("format", "channels"), [("FLAC", 1), ("FLAC", 8), ("OGG", 1)])
def test_a_bomb_is_refused_by_its_header(client, encode, monkeypatch, format, channels):
    bomb = encode(np.zeros((600 * 16_000 // channels, channels), np.int16), format=format)
    assert len(bomb) < 600_000
    monkeypatch.setattr(audio, "_mono", lambda *given: pytest.fail("it was decoded"))
    began = time.perf_counter()
    if channels == 1:
        assert "600.0 s" in refused(client.post("/v1/verify", content=bomb, headers=OCTETS), 413, "too_long").detail
    else:
        refused(client.post("/v1/verify", content=bomb, headers=OCTETS), 413, "too_long")
    assert time.perf_counter() - began < 2


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


def test_an_upload_that_is_too_large_is_refused_unread(serving):
    read = []

    def endless():
        for _ in range(10_000):
            read.append(1)
            yield b"x" * 1_000

    with serving(max_bytes=10_000) as client:
        lengths = {"Content-Length": "20000000000", **OCTETS}
        refused(client.post("/v1/verify", content=endless(), headers=lengths), 413, "too_large")
        form = {"file": ("a.wav", b"RIFF" + b"x" * 20_000)}
        refused(client.post("/v1/verify", files=form), 413, "too_large")
        refused(client.post("/v1/verify", content=b"x" * 10_001, headers=OCTETS), 413, "too_large")
        assert refused(client.post("/v1/verify", content=endless(), headers=OCTETS), 413, "too_large").detail.endswith(
            "OGG"
        )


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json", "audio/mpeg", "multipart/mixed", "", "/", "audio/*"]
)
def test_types_that_are_not_taken(client, kind):
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
def test_broken_forms(client, parameters, body):
    headers = {"Content-Type": "multipart/form-data" + parameters}
    refused(client.post("/v1/verify", content=body, headers=headers), 422, "broken_form")


def test_a_form_of_many_parts(client):
    refused(client.post("/v1/verify", files=[("file", ("a", b"x"))] * 3), 422, "broken_form")
    refused(client.post("/v1/verify", files={"file": ("a", b"x")}, data={"more": "y"}), 422, "broken_form")


@pytest.fixture(scope="module")
def new_app(folder):
    def make():
        return create_app(Service(ServingConfig(allowed_hosts=("testserver",)), folder), "secret")

    return make


@pytest.fixture(scope="module")
def lasting(new_app):
    with TestClient(new_app(), raise_server_exceptions=False) as client:
        yield client


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


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_never_a_500(lasting, encode, sound, data):
    name = data.draw(st.sampled_from([("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]))
    whole = bytearray(encode(sound(0.8), 16_000, *name))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, min(len(whole) - 1, 200)))] = data.draw(st.integers(0, 255))
    headers = {**OCTETS, "Authorization": "Bearer secret"}
    response = lasting.post("/v1/verify", content=bytes(whole), headers=headers)
    assert response.status_code in (200, 413, 415, 422), response.text


def test_the_api_does_what_openapi_says(new_app):
    """All but that what fits the schema is accepted: a schema cannot say which bytes are audio."""
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


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret", "Bearer sécret"]
)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/model", "/v1/model/streaming.onnx", "/metrics"])
def test_without_the_token_nothing_is_told(lasting, path, given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    response = lasting.request("POST" if path == "/v1/verify" else "GET", path, headers=headers)
    refused(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_and_states_need_none(lasting):
    assert lasting.get("/v1/model?token=wrong", headers={"Authorization": "bearer secret"}).status_code == 200
    assert [lasting.get(path).status_code for path in ("/health", "/ready", "/openapi.json")] == [200] * 3


def test_the_token_is_compared_in_constant_time(monkeypatch):
    from wakeword_core.serving import access

    compared = []
    monkeypatch.setattr(access.secrets, "compare_digest", lambda one, other: compared.append(one) or False)
    with pytest.raises(access.RefusedError):
        BearerToken("secret")._require("secret")
    assert compared == [b"secret"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421), ({"host": ""}, 421), ({"host": "[::1"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost:1234"}, 200), ({"host": "[::1]:80"}, 200), ({"host": "127.0.0.1"}, 200),
        ({"origin": "https://evil.example"}, 403), ({"origin": "null"}, 403), ({"origin": "http://[::1"}, 403),
        ({"origin": "http://testserver"}, 200), ({"origin": "http://testserver:81"}, 403),
    ],
)  # fmt: skip
def test_other_names_and_pages_are_refused(client, headers, status):
    response = client.get("/health", headers=headers)
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers
    if status != 200:
        refused(response, status, "wrong_host" if "host" in headers else "wrong_origin")


def test_origins_that_are_allowed_may_ask(serving):
    with serving(allowed_origins=["https://app.example"], token="secret") as client:
        preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
        answer = client.options("/v1/verify", headers={**preflight, "access-control-request-headers": "authorization"})
        assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "https://app.example"
        assert client.get("/health", headers={"origin": "https://other.example"}).status_code == 403


def test_off_loopback_any_name_will_do_unless_some_are_given(serving):
    with serving(loopback=False, allowed_hosts=[]) as client:
        assert client.get("/health", headers={"host": "judge.example"}).status_code == 200
    with serving(loopback=False) as client:
        assert client.get("/health", headers={"host": "localhost"}).status_code == 421


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/../etc/passwd", "/v1/model/..%2f..%2fetc%2fpasswd", "/%00", "//evil.example/"]
)
def test_paths_that_are_not_there(client, path):
    response = client.get(path)
    refused(response, 404, "not_found")


def test_methods_that_are_not_there(client):
    response = client.delete("/v1/verify")
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    client.request("BREW", "/v1/verify")
    text = client.get("/metrics").text
    assert 'method="other"' in text and "BREW" not in text


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


def test_a_full_queue_is_429_and_not_ready(serving, held, sound, encode, eventually):
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


def test_an_answer_that_takes_too_long_is_503_and_its_work_is_dropped(serving, held, sound, encode, eventually):
    let_go, began = held
    with serving(answer_seconds=0.1, workers=1) as client:
        for _ in range(2):  # the second never gets a worker
            response = client.post("/v1/verify", content=encode(sound(0.5)), headers=OCTETS)
            refused(response, 503, "timeout")
            assert response.headers["retry-after"] == "1"
        let_go.set()
        eventually(lambda: not client.service._uploads._work_queue.qsize())
        assert len(began) == 1 and began[0].abandoned.is_set() and "decode" not in began[0].timings_ms
        assert not client.service._admitted


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


def test_a_failure_is_told_without_its_reason_and_does_not_stay(serving, monkeypatch, sound, encode, caplog):
    with serving() as client:
        scorer = client.service._scorers[0]
        with monkeypatch.context() as broken:
            broken.setattr(scorer.model, "score_heard", lambda windows: 1 / 0)
            problem = refused(client.post("/v1/verify", content=encode(sound()), headers=OCTETS), 500, "internal_error")
        assert "zero" not in problem.detail and "division by zero" in caplog.text
        assert client.post("/v1/verify", content=encode(sound()), headers=OCTETS).status_code == 200
