"""`wakeword serve` as a process, and the client against it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from in_thread import served
from listening import listening
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncClient
from wyoming.ping import Ping
from wyoming.wake import Detection

from wakeword_core.config import ServingConfig
from wakeword_core.errors import ConfigError, MissingDependencyError, WakewordError
from wakeword_core.serving.app import create_app
from wakeword_core.serving.client import JudgeClient, JudgeError
from wakeword_core.serving.network import is_loopback, listening_socket
from wakeword_core.serving.server import serve
from wakeword_core.serving.service import Service

pytestmark = pytest.mark.server
GROWTH_BYTES = 8e6


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    """One that most tests share: with a token, short of patience, as fast as can be."""
    settings = {"body_seconds": 0.6, "stream_speed": 1_000, "stream_message_bytes": 10_000, "max_streams": 2}
    named = [argument for name, value in settings.items() for argument in ("--set", f"serving.{name}={value}")]
    command = [sys.executable, "-m", "wakeword_pipeline.cli", "serve", str(folder), "--port", "0", *named]
    environment = {**os.environ, "WAKEWORD_TOKEN": "secret", "OMP_NUM_THREADS": "1"}
    where = tmp_path_factory.mktemp("server")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=where, env=environment) as process:
        line = process.stderr.readline()
        assert "serving 'hey robin' (artifact-key) on http://127.0.0.1:" in line
        process.url = line.split(" on ")[1].split(";")[0]
        yield process
        process.kill()


@pytest.fixture
def client(server):
    with JudgeClient(server.url, "secret") as one:
        yield one


def metric(client, name):
    """A number of /metrics; 0 if it was never counted."""
    lines = client.metrics().splitlines()
    return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} ")), 0.0)


def connected(server):
    port = int(server.url.rsplit(":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), timeout=10), port


def test_it_listens_on_this_machine_alone(server):
    assert listening(server.pid) == {"127.0.0.1"}


def test_the_client_agrees_with_the_runtime(client, model, sound, encode, tmp_path, folder):
    expected = [round(one.time, 3) for one in model.detect(sound())]
    (tmp_path / "a.flac").write_bytes(encode(sound(), format="FLAC"))
    for verdict in (
        client.verify_pcm(sound(), 16_000),
        client.verify(encode(sound())),
        client.verify(tmp_path / "a.flac"),
    ):
        assert verdict.prediction and [one.time for one in verdict.events] == expected
    assert client.verify_pcm(sound(), 16_000).events == verdict.events
    assert client.model().words == ["hey robin"]
    assert client.streaming_model() == (folder / "model.streaming.onnx").read_bytes()


def test_the_client_says_why(server, client):
    with pytest.raises(JudgeError, match="WebM, MP4 or AAC file, and this is none of them") as error:
        client.verify(b"not audio")
    assert (error.value.status, error.value.code) == (415, "unsupported_audio")
    with JudgeClient(server.url, "wrong") as other, pytest.raises(JudgeError, match="the token is wrong"):
        other.model()
    with JudgeClient("http://127.0.0.1:1") as other, pytest.raises(JudgeError, match="cannot be asked"):
        other.model()


def test_an_error_of_who_uses_a_stream_stays_what_it_is(client):
    async def fail():
        async with client.stream(16_000):
            raise FileNotFoundError("which")

    with pytest.raises(FileNotFoundError, match="which"):
        asyncio.run(fail())
    with JudgeClient("http://127.0.0.1:1") as other, pytest.raises(JudgeError, match="broke"):
        asyncio.run(heard(other, np.zeros(10, np.int16), 16_000))


@pytest.mark.parametrize("token", ["geheimnis-ü", "a b", "YWJjZA==", " ", "\t\n"])
def test_a_token_that_a_browser_cannot_send_is_refused_at_the_start(folder, monkeypatch, token):
    monkeypatch.setenv("WAKEWORD_TOKEN", token)
    with pytest.raises(ConfigError, match="openssl rand"):
        serve(Service(ServingConfig(port=0), folder), lambda address: None)


async def heard(client, pcm, rate, size=1_000):
    """Events and scores [n, classes] of a stream."""
    events, rows = [], []

    async def send(stream):
        for start in range(0, len(pcm), size):
            await stream.send(pcm[start : start + size])
        await stream.end()

    async with client.stream(rate) as stream:
        sending = asyncio.create_task(send(stream))
        async for message in stream:
            if message["type"] == "event":
                events.append(message)
            else:
                rows += message["scores"]
        await sending
    return events, np.asarray(rows)


def test_a_stream_of_the_client_agrees_with_the_runtime(client, model, sound):
    pcm = sound(3.5)
    events, rows = asyncio.run(heard(client, pcm, 16_000))
    expected = model.detect(pcm)
    assert [one["time"] for one in events] == [round(one.time, 3) for one in expected] and len(events) == 2
    np.testing.assert_allclose(rows, model.score_audio(pcm)[1], atol=2e-3)
    again, _ = asyncio.run(heard(client, sound(3.5, rate=48_000), 48_000, 4_800))
    assert len(again) == 2


def test_a_stream_that_is_refused(server, client, sound):
    with pytest.raises(JudgeError, match="sample rate is 1 Hz"):
        asyncio.run(heard(client, sound(1.0), 1))
    with pytest.raises(JudgeError, match="10,000 bytes"):
        asyncio.run(heard(client, sound(1.0), 16_000, 6_000))
    with pytest.raises(JudgeError, match="broke"):  # far too large: cut off unread
        asyncio.run(heard(client, sound(20.0), 16_000, 300_000))
    with pytest.raises(JudgeError, match="token is wrong"):
        asyncio.run(heard(JudgeClient(server.url, "wrong"), sound(1.0), 16_000))


def answer_to(server, request, then=()):
    """The first line and the body of what a raw request gets; `then` is sent after it, piece by piece."""
    connection, port = connected(server)
    with connection:
        connection.sendall(request.replace(b"PORT", str(port).encode()))
        for piece in then:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(0.1)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # whoever is refused while sending may not see why
            while data := connection.recv(65_536):
                answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0].decode(), body


HEAD = (
    b"POST /v1/verify HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nAuthorization: Bearer secret\r\n"
    b"Content-Type: audio/wav\r\nConnection: close\r\n"
)


def test_a_slow_upload_is_let_go(server):
    status, body = answer_to(server, HEAD + b"Content-Length: 1000\r\n\r\n", [b"RIFF"] * 20)
    assert "408" in status and json.loads(body)["code"] == "slow_upload"


def test_a_huge_upload_is_refused_before_it_is_sent(server):
    status, body = answer_to(server, HEAD + b"Content-Length: 100000000000\r\n\r\n")
    assert "413" in status and json.loads(body)["code"] == "too_large"


def test_who_sends_too_much_at_once_sees_why(server):
    body = b"x" * 20_000_000
    status, answer = answer_to(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body), [body])
    assert "413" in status and json.loads(answer)["code"] == "too_large"


def test_a_request_that_is_cut_off_at_the_end_is_told_so(folder, caplog):
    app = create_app(Service(ServingConfig(), folder))
    with served(app, timeout_graceful_shutdown=0.2) as (port, server):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(HEAD.replace(b"PORT", str(port).encode()) + b"Content-Length: 1000\r\n\r\nRIFF")
        while not server.server_state.tasks:
            time.sleep(0.01)
        server.should_exit = True
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 503") and b'"code":"ending"' in answer
    assert [record for record in caplog.records if record.exc_info and record.name.startswith("uvicorn")] == []


def test_a_huge_upload_of_unknown_length_is_refused_on_the_way(server, client):
    counted = 'wakeword_requests_total{method="POST",route="/v1/verify",status="413"}'
    before = metric(client, counted)
    chunk = b"400000\r\n" + b"x" * 0x400000 + b"\r\n"
    answer_to(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", [chunk] * 4)
    assert metric(client, counted) == before + 1


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_no_http_is_a_400(server, request_):
    assert "400" in answer_to(server, request_)[0]


def test_endless_headers_are_cut_off(server, client):
    status, _ = answer_to(server, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", [b"x" * 100_000] * 5)
    assert "400" in status or not status
    assert client.model().phrase == "hey robin"


def test_a_client_that_leaves_costs_nothing(server, client, eventually):
    connection, port = connected(server)
    connection.sendall(HEAD.replace(b"PORT", str(port).encode()) + b"Content-Length: 1000\r\n\r\nRIFF")
    connection.close()
    gone = 'wakeword_requests_total{method="POST",route="/v1/verify",status="499"}'
    eventually(lambda: metric(client, gone) == 1)
    eventually(lambda: metric(client, "wakeword_queue_depth") == 0)


def test_streams_for_long_do_not_grow(server, client, sound):
    """Hours of audio at full speed would take hours here; a minute after a warm-up shows what each second leaves."""
    pcm = sound(15.0)
    process = psutil.Process(server.pid)
    asyncio.run(heard(client, pcm, 16_000, 4_000))
    before = process.memory_info().rss
    for _ in range(4):
        asyncio.run(heard(client, pcm, 16_000, 4_000))
    assert process.memory_info().rss - before < GROWTH_BYTES
    assert metric(client, "wakeword_streams") == 0


def test_one_is_in_work_another_is_refused_and_at_the_end_the_first_is_finished(process, sound, encode, eventually):
    data = encode(sound())
    head = HEAD.replace(b"Authorization: Bearer secret\r\n", b"") + b"Content-Length: %d\r\n\r\n" % len(data)
    with process("--set", "serving.queue_length=1") as (url, running), JudgeClient(url) as client:
        port = url.rsplit(":", 1)[1]
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as connection:
            connection.sendall(head.replace(b"PORT", port.encode()) + data[:1_000])
            eventually(lambda: metric(client, "wakeword_queue_depth") == 1)
            with pytest.raises(JudgeError, match="try again") as full:
                client.verify(data)
            assert (full.value.status, full.value.code) == (429, "queue_full")
            running.terminate()
            eventually(lambda: not reachable(url))
            connection.sendall(data[1_000:])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 200") and b'"prediction":true' in answer
        assert running.wait(10) in (0, -15)
        assert "Traceback" not in running.stderr.read()


def reachable(url):
    try:
        with JudgeClient(url) as client:
            client.model()
    except JudgeError:
        return False
    return True


def test_at_the_end_streams_are_closed(process, sound):
    with process() as (url, running), connect(url.replace("http", "ws") + "/v1/stream") as stream:
        stream.send(sound(1.0).tobytes())
        assert json.loads(stream.recv(10))["type"] == "scores"
        running.terminate()
        with pytest.raises(ConnectionClosed):
            while True:
                stream.recv(10)
        assert stream.close_code == 1_012 and running.wait(10) in (0, -15)


def wyoming(address, pcm):
    """Names of what a Wyoming client hears detected in int16 samples."""

    async def heard():
        async with AsyncClient.from_uri(address, read_timeout=20) as client:
            await client.write_event(AudioChunk(16_000, 2, 1, audio=pcm.tobytes()).event())
            await client.write_event(AudioStop().event())
            await client.write_event(Ping().event())
            names = []
            while Detection.is_type((event := await client.read_event()).type):
                names.append(event.data["name"])
            return names

    return asyncio.run(heard())


def test_wyoming_beside_http_hears_all_models(process, make_model, sound, tmp_path):
    other = make_model(tmp_path / "other", labels=("_negative", "computer"), key="other-key")
    with process(other, "--wyoming", "tcp://127.0.0.1:0") as (url, running), JudgeClient(url) as client:
        line = running.stderr.readline()
        address = line.split(" on ")[1].split(";")[0]
        assert line.startswith("serving 'hey robin' (artifact-key), 'computer' (other-key) on tcp://127.0.0.1:")
        assert sorted(wyoming(address, sound(1.5))) == ["computer", "hey_robin"]
        assert client.model().words == ["hey robin"] and client.verify_pcm(sound(), 16_000).prediction
        assert metric(client, "wakeword_stream_audio_seconds_total") >= 3 and metric(client, "wakeword_streams") == 0
        assert listening(running.pid) == {"127.0.0.1"}
        running.terminate()
        assert running.wait(10) in (0, -15) and "Traceback" not in running.stderr.read()


def test_wyoming_without_http_ends_in_order(process, sound):
    with process("--no-http", "--wyoming", "tcp://127.0.0.1:0") as (address, running):
        assert wyoming(address, sound(1.5)) == ["hey_robin"]
        running.terminate()
        assert running.wait(10) == 0 and running.stderr.read() == ""


def test_who_can_reach_wyoming_is_said_and_a_port_that_is_taken(folder, monkeypatch, caplog):
    @contextlib.asynccontextmanager
    async def stopped_at_once():
        signal.raise_signal(signal.SIGTERM)
        yield

    told = []
    open_to_all = Service(ServingConfig(http=False, wyoming="tcp://0.0.0.0:0"), folder)
    serve(open_to_all, told.append, beside=[stopped_at_once()])
    assert told[0].startswith("'hey robin' (artifact-key) on tcp://0.0.0.0:")
    assert "whoever reaches tcp://0.0.0.0:0 can have sound listened to" in caplog.text
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServingConfig(http=False, wyoming=f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(WakewordError, match="choose others with --wyoming"):
            serve(Service(settings, folder), told.append)
    monkeypatch.setitem(sys.modules, "wakeword_core.serving.wyoming", None)
    with pytest.raises(MissingDependencyError, match=r"--wyoming needs .*pip install -e '/.*\[wyoming\]'"):
        serve(Service(ServingConfig(http=False, wyoming="tcp://127.0.0.1:0"), folder), told.append)


def test_no_heavy_library_is_loaded(folder):
    code = (
        "import sys\nfrom wakeword_core.serving import server\n"
        "from wakeword_pipeline.cli import main\nfrom wakeword_pipeline.cli.commands import serve as command\n"
        "def serve(service, *others):\n"
        "    with service: pass\n"
        "    heavy = {'torch', 'dagster', 'mlflow', 'onnx', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
        "    print('served')\n"
        "server.serve = serve\n"
        f"sys.argv = ['wakeword', 'serve', {str(folder)!r}]\nmain.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "served\n", done.stderr


def test_others_can_only_connect_with_a_token(folder, monkeypatch):
    monkeypatch.delenv("WAKEWORD_TOKEN", raising=False)
    open_to_all = ServingConfig(host="0.0.0.0", port=0)
    with pytest.raises(ConfigError, match="set a token in the environment variable WAKEWORD_TOKEN"):
        serve(Service(open_to_all, folder), lambda address: pytest.fail("it served"))


def test_a_port_that_is_taken_is_said(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServingConfig(port=taken.getsockname()[1])
        with pytest.raises(WakewordError, match=r"cannot listen on 127\.0\.0\.1, port \d+ .*choose others"):
            serve(Service(settings, folder), lambda address: None)
    with pytest.raises(WakewordError, match="cannot listen on no-such-host"):
        serve(Service(ServingConfig(host="no-such-host.invalid"), folder), lambda address: None)
    for host in (".local", "a" * 70):  # no name at all, which Python's encoding of names refuses
        with pytest.raises(WakewordError, match=f"cannot listen on {host}, port 0 "):
            listening_socket(host, 0)


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_what_is_loopback(address, own):
    assert is_loopback(address) is own


def test_every_request_is_a_line_of_json_when_asked(process, capfd, encode, sound):
    with process("--set", "serving.access_log=true") as (url, _), JudgeClient(url) as client:
        client.verify(encode(sound()))
        with connect(url.replace("http", "ws") + "/v1/stream?token=secret") as stream:
            stream.send('{"type": "end"}')
            stream.close()
        client.metrics()
        written, deadline = "", time.monotonic() + 10
        while written.count("\n") < 3 and time.monotonic() < deadline:  # a line follows its answer
            time.sleep(0.05)
            written += capfd.readouterr().out
    lines = [json.loads(line) for line in written.splitlines()]
    told = [(line["method"], line["path"], line["status"], line["client"]) for line in lines]
    home = "127.0.0.1"
    assert sorted(told) == [
        ("GET", "/metrics", 200, home),
        ("POST", "/v1/verify", 200, home),
        ("WS", "/v1/stream", 101, home),
    ]
    assert all(0 < line["milliseconds"] < 60_000 and line["time"].endswith("+00:00") for line in lines)
