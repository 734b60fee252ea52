"""A small model that hears loudness, sounds, and servers of it: in this process and as a process of their own."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword_core.config import ServingConfig
from wakeword_core.runtime import WakewordModel

sys.path.insert(0, str(Path(__file__).parent))

from loud_model import RATE, loud_and_quiet, save_model
from satellite import PATIENCE


def encoded(pcm, rate=RATE, format="WAV", subtype=None):
    """An audio file of int16 or float [samples] or [samples, channels] in memory."""
    file = io.BytesIO()
    channels = 1 if pcm.ndim == 1 else pcm.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=format) as out:
        for start in range(0, len(pcm), 100_000):  # libsndfile crashes on a long OGG at once
            out.write(pcm[start : start + 100_000])
    return file.getvalue()


def refused_with(response, status, code):
    """The problem, in its one shape."""
    from wakeword_core.serving.answers import Problem

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert (problem.status, problem.code) == (status, code) and problem.detail
    return problem


@pytest.fixture(scope="session")
def refused():
    return refused_with


@pytest.fixture(scope="session")
def make_model():
    return save_model


@pytest.fixture(scope="session")
def sound():
    return loud_and_quiet


@pytest.fixture(scope="session")
def encode():
    return encoded


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The sentry, with the model that streams beside it."""
    from wakeword_core.export.streaming import export_streaming

    made = save_model(tmp_path_factory.mktemp("models") / "sentry")
    export_streaming(made / "model.onnx", 1e-3, made)
    return made


def recorded(pcm, rate, container, codec, channels=1):
    """A file as browsers and telephones record it: float32 [samples] encoded with FFmpeg's `codec`, not seekable."""
    import av

    class Stream(io.BytesIO):
        def seekable(self):
            return False

    file = io.BytesIO() if container in ("mp4", "ipod") else Stream()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="stereo" if channels == 2 else "mono")
        size = 960 if codec == "libopus" else 1_024
        for start in range(0, len(pcm), size):
            piece = np.ascontiguousarray(pcm[start : start + size], np.float32)
            frame = av.AudioFrame.from_ndarray(np.tile(piece, (channels, 1)), "fltp", stream.layout.name)
            frame.sample_rate = rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture(scope="session")
def record():
    return recorded


@pytest.fixture(scope="session")
def model(folder):
    return WakewordModel(folder)


@pytest.fixture
def serving(folder):
    """`with serving(judge=..., token=..., queue_length=...) as client:` a server in this process."""
    from fastapi.testclient import TestClient

    from wakeword_core.serving.app import create_app
    from wakeword_core.serving.service import Service

    @contextmanager
    def start(judge=None, token="", sentry=folder, loopback=True, **settings):
        chosen = ServingConfig.model_validate({"allowed_hosts": ["testserver"], "workers": 4, **settings})
        app = create_app(service := Service(chosen, sentry, judge), token, loopback=loopback)
        with TestClient(app, raise_server_exceptions=False) as client:
            client.service = service
            yield client

    return start


@pytest.fixture
def process(folder, tmp_path):
    """`with process("--set", ..., token=...) as (url, process):` `wakeword serve` on a free port."""

    @contextmanager
    def start(*arguments, token=""):
        given = [str(folder), "--port", "0", *map(str, arguments)]
        command = [sys.executable, "-m", "wakeword_pipeline.cli", "serve", *given]
        environment = {**os.environ, "WAKEWORD_TOKEN": token, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as running:
            try:
                line = running.stderr.readline()
                assert " on http" in line or " on tcp" in line, line + running.stderr.read()
                yield line.split(" on ")[1].split(";")[0], running
            finally:
                running.send_signal(signal.SIGCONT)
                running.kill()

    return start


@pytest.fixture
def eventually():
    """Wait until something is so."""

    def wait(condition, seconds=10.0):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "it never came to be"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def new_app(folder):
    """Make an application that asks for the token `secret`."""
    from wakeword_core.serving.app import create_app
    from wakeword_core.serving.service import Service

    def make():
        return create_app(Service(ServingConfig(allowed_hosts=("testserver",)), folder), "secret")

    return make


@pytest.fixture(scope="session")
def lasting(new_app):
    """A server in this process that is not started anew for each test."""
    from fastapi.testclient import TestClient

    with TestClient(new_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def talk(folder):
    """`talk(conversation, ...)` runs a coroutine with the port of a server and its service."""

    def run(conversation, judge=None, others=(), **settings):
        from wakeword_core.serving.network import listening_socket
        from wakeword_core.serving.service import Service
        from wakeword_core.serving.wyoming import Satellites

        chosen = ServingConfig.model_validate({"stream_speed": 1_000.0, **settings})

        async def main():
            with Service(chosen, folder, judge, others) as service, listening_socket("127.0.0.1", 0) as listener:
                async with Satellites(service, listener):
                    return await asyncio.wait_for(conversation(listener.getsockname()[1], service), PATIENCE)

        return asyncio.run(main())

    return run
