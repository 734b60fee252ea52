"""What `wakeword serve` stands: many clients at once, or streams for long.

    python benchmarks/judge_load.py                          200 clients for 60 s, each asking again when answered
    python benchmarks/judge_load.py --soak 30                8 streams in real time for 30 minutes
    python benchmarks/judge_load.py --model FOLDER --judge FOLDER --clients 50 --seconds 10

The server is a process of its own; the clients, in this one, share its cores. Without `--model` it serves an untrained
network of the preset `balanced`: what that costs does not depend on its weights. Clips are noise, WAV of `--clip`
seconds. Under load, `ratio` is a second for every 40 clients over the 99th percentile of the answer's time, and 0 after
any answer but 200. In a soak, memory is the server's own figure once a second, the first fifth of the time is left out,
and `ratio` is 10 MB over what the median of the last fifth has more than that of the second, at most 10. The last line
of standard output is one JSON object.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.audio import encode_wav
from wakeword_core.serving.client import JudgeClient

GOAL = 1.0
CLIENTS_A_SECOND = 40
"""How many clients at once the goal allows for each second of the 99th percentile."""
ALLOWED_MB = 10.0
MOST = 10.0
"""The ratio of memory that did not grow at all."""
LEVEL = 1_000.0
CHUNK_SECONDS = 0.08
SOAK_STREAMS = 8


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="an exported model's folder [default: an untrained one]")
    parser.add_argument("--judge", type=Path, help="a second model, which confirms [default: none]")
    parser.add_argument("--clients", type=int, default=200, help="clients at once [default: 200]")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they ask [default: 60]")
    parser.add_argument("--clip", type=float, default=1.5, help="seconds of audio in a request [default: 1.5]")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="streams for so long instead")
    parser.add_argument("--streams", type=int, default=SOAK_STREAMS, help=f"of a soak [default: {SOAK_STREAMS}]")
    chosen = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as folder:
        model = chosen.model or _untrained(Path(folder) / "model")
        with served(model, chosen.judge, chosen.clients, chosen.streams) as url:
            if chosen.soak:
                report = asyncio.run(soak(url, chosen.streams, 60 * chosen.soak))
            else:
                report = asyncio.run(load(url, chosen.clients, chosen.seconds, chosen.clip))
    print(json.dumps(report))
    return 0


def _untrained(folder: Path) -> Path:
    from streaming import build

    return build("balanced", folder)


@contextmanager
def served(model: Path, judge: Path | None, clients: int, streams: int) -> Iterator[str]:
    """The address of a server with room for so many at once."""
    command = [sys.executable, "-m", "wakeword_pipeline.cli", "serve", str(model.resolve()), "--port", "0"]
    command += ["--judge", str(judge.resolve())] if judge else []
    command += ["--set", f"serving.queue_length={clients}", "--set", f"serving.max_streams={streams}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("WAKEWORD_TOKEN", None)
    with (
        tempfile.TemporaryDirectory() as nowhere,  # where there is no configuration
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=nowhere, env=environment) as process,
    ):
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            if " on http" not in line:
                raise SystemExit(f"judge_load: the server did not start: {line}{process.stderr.read()}")
            yield line.split(" on ")[1].split(";")[0]
        finally:
            process.terminate()


async def load(url: str, clients: int, seconds: float, clip_seconds: float) -> dict[str, Any]:
    """Clients that ask again as soon as they are answered; returns the JSON object."""
    rate = JudgeClient(url).model().sample_rate
    noise = np.random.default_rng(0).normal(0, LEVEL, round(clip_seconds * rate)).astype(np.int16)
    request = _request(url, encode_wav(noise, rate))
    alone: list[float] = []
    await _ask(url, request, time.monotonic() + min(2.0, seconds), alone, Counter())
    found: list[float] = []
    answers: Counter[str] = Counter()
    began = time.monotonic()
    await asyncio.gather(*(_ask(url, request, began + seconds, found, answers) for _ in range(clients)))
    passed = time.monotonic() - began
    p50, p95, p99 = (float(one) for one in np.percentile(found or [float("inf")], (50, 95, 99)))
    errors = sum(count for answer, count in answers.items() if answer != "200")
    return {
        "name": "judge_load",
        "ratio": 0.0 if errors else round(clients / CLIENTS_A_SECOND / p99, 3),
        "goal": GOAL,
        "clients": clients,
        "seconds": round(passed, 1),
        "clip_seconds": clip_seconds,
        "requests": sum(answers.values()),
        "requests_a_second": round(len(found) / passed, 1),
        "errors": errors,
        "answers": dict(answers),
        "p50_ms": round(1e3 * p50, 1),
        "p95_ms": round(1e3 * p95, 1),
        "p99_ms": round(1e3 * p99, 1),
        "alone_p50_ms": round(1e3 * statistics.median(alone), 1),
        "windows_a_run": round(_mean(url, "wakeword_batch_windows"), 1),
        "requests_a_run": round(_mean(url, "wakeword_batch_requests"), 1),
        "resident_mb": round(_metric(url, "process_resident_memory_bytes") / 1e6, 1),
    }


def _request(url: str, data: bytes) -> bytes:
    """The bytes of a request: what a client library costs would be measured as the server's."""
    head = f"POST /v1/verify HTTP/1.1\r\nHost: {url.partition('//')[2]}\r\nContent-Type: audio/wav\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def _ask(url: str, request: bytes, until: float, found: list[float], answers: Counter[str]) -> None:
    """One client: seconds of each answer that was a verdict, and how often there was which."""
    host, port = url.partition("//")[2].rsplit(":", 1)
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (began := time.monotonic()) < until:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            status = head.split()[1].decode()
            answers[status] += 1
            if status == "200":
                found.append(time.monotonic() - began)
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        answers[type(error).__name__] += 1


async def soak(url: str, streams: int, seconds: float) -> dict[str, Any]:
    """Streams in real time, and the server's memory meanwhile; returns the JSON object."""
    client = JudgeClient(url)
    rate = client.model().sample_rate
    until = time.monotonic() + seconds
    messages: Counter[str] = Counter()
    listening = [asyncio.create_task(_stream(client, rate, until, seed, messages)) for seed in range(streams)]
    resident = []
    while time.monotonic() < until:
        await asyncio.sleep(min(1.0, seconds / 50))
        resident.append(await asyncio.to_thread(_metric, url, "process_resident_memory_bytes") / 1e6)
    await asyncio.gather(*listening)
    fifth = max(1, len(resident) // 5)
    first, last = statistics.median(resident[fifth : 2 * fifth]), statistics.median(resident[-fifth:])
    return {
        "name": "judge_soak",
        "ratio": round(min(MOST, ALLOWED_MB / max(last - first, ALLOWED_MB / MOST)), 3),
        "goal": GOAL,
        "streams": streams,
        "minutes": round(seconds / 60, 2),
        "heard_seconds": round(_metric(url, "wakeword_stream_audio_seconds_total"), 1),
        "messages": dict(messages),
        "resident_mb_first": round(first, 1),
        "resident_mb_last": round(last, 1),
        "resident_mb_most": round(max(resident), 1),
        "processor_seconds": round(_metric(url, "process_cpu_seconds_total"), 1),
    }


async def _stream(client: JudgeClient, rate: int, until: float, seed: int, messages: Counter[str]) -> None:
    chunk = round(CHUNK_SECONDS * rate)
    noise = np.random.default_rng(seed).normal(0, LEVEL, 50 * chunk).astype(np.int16)

    async def speak(stream: Any) -> None:
        due, turn = time.monotonic(), 0
        while due < until:
            await stream.send(noise[turn * chunk : (turn + 1) * chunk])
            turn, due = (turn + 1) % 50, due + CHUNK_SECONDS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await stream.end()

    async with client.stream(rate) as stream:
        speaking = asyncio.create_task(speak(stream))
        async for message in stream:
            messages[message["type"]] += 1
        await speaking


def _mean(url: str, histogram: str) -> float:
    """The mean of what the sentry's histogram counted."""
    count = _metric(url, f'{histogram}_count{{model="sentry"}}')
    return _metric(url, f'{histogram}_sum{{model="sentry"}}') / max(count, 1.0)


def _metric(url: str, name: str) -> float:
    with JudgeClient(url) as client:
        lines = client.metrics().splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


if __name__ == "__main__":
    sys.exit(main())
