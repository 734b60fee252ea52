"""A judge on a server: reached, refusing, not there, silent, and back again."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from in_thread import served
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from wakeword_core.config import ServingConfig
from wakeword_core.errors import ConfigError
from wakeword_core.runtime import Detector
from wakeword_core.serving import remote
from wakeword_core.serving.app import create_app
from wakeword_core.serving.client import JudgeClient, JudgeError
from wakeword_core.serving.remote import RemoteJudge
from wakeword_core.serving.service import Service

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def judge_at(model):
    """`judge_at(url, absent)`: a judge of what the model hears."""

    def make(url, absent="accept", token="", words=("hey robin",)):
        return RemoteJudge(JudgeClient(url, token, 5.0), words, model.sample_rate, absent)

    return make


@pytest.fixture
def server(folder):
    """`with served(server(...))`: the application of a server."""

    def make(token="", **settings):
        return create_app(Service(ServingConfig.model_validate(settings), folder), token)

    return make


def listened(judge, model, pcm, wait=0.0):
    """Times of what counts in a stream."""
    detector, counted = Detector(model), []
    for start in range(0, len(pcm), 1_280):
        block = pcm[start : start + 1_280]
        counted += judge.push(block, detector.process(block))
        time.sleep(wait)
    return [round(one.time, 3) for one in [*counted, *judge.finish()]]


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == remote.__name__]


def test_what_the_server_hears_too_counts(judge_at, server, model, sound, caplog):
    pcm = sound(5.0, level=400)  # of which the highest score is 0.95
    expected = [round(one.time, 3) for one in model.detect(pcm)]
    for threshold, counts in ((0.5, expected), (0.96, [])):
        with served(server(cascade={"sentry_threshold": threshold})) as (port, _):
            judge = judge_at(f"http://127.0.0.1:{port}")
            judge.begin()
            assert listened(judge, model, pcm) == counts
    assert len(expected) == 3 and lines(caplog) == []


def test_a_server_with_a_token_is_asked_with_it(judge_at, server, model, sound):
    with served(server("secret")) as (port, _):
        with pytest.raises(JudgeError, match="the token is wrong"):
            judge_at(f"http://127.0.0.1:{port}", token="wrong").begin()
        judge = judge_at(f"http://127.0.0.1:{port}", "reject", "secret")
        judge.begin()
        assert len(listened(judge, model, sound(1.5))) == 1


def test_who_cannot_judge_is_said_at_the_beginning(judge_at, server):
    with served(server()) as (port, _), pytest.raises(ConfigError, match="cannot confirm 'computer'; it knows hey"):
        judge_at(f"http://127.0.0.1:{port}", words=("hey robin", "computer")).begin()
    for answer in (HTMLResponse("welcome"), Response(status_code=404), Response(b"\xff", 200), Response(b"{}", 200)):
        pages = Starlette(routes=[Route("/v1/model", lambda request, answer=answer: answer)])
        with served(pages) as (port, _), pytest.raises(JudgeError, match="is no server of ours"):
            judge_at(f"http://127.0.0.1:{port}").begin()
    for url in ("127.0.0.1:8765", "ftp://a", "http://", "", "http://[::1", "file:///etc/passwd"):
        with pytest.raises(ConfigError, match=r"like http://127\.0\.0\.1:8765"):
            judge_at(url)


@pytest.mark.parametrize(
    ("absent", "count", "said"), [("accept", 3, "detections count"), ("reject", 0, "do not count")]
)
def test_where_no_server_is_the_policy_decides_and_one_line_says_so(
    judge_at, model, sound, caplog, absent, count, said
):
    judge = judge_at(NOWHERE, absent)
    judge.begin()
    assert len(listened(judge, model, sound(5.0))) == count
    (line,) = lines(caplog)
    assert said in line and "cannot be asked" in line


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_or_fails_is_absent(judge_at, model, sound, caplog, status):
    busy = Starlette(
        routes=[Route("/{path:path}", lambda request: Response(status_code=status), methods=["GET", "POST"])]
    )
    with served(busy) as (port, _):
        judge = judge_at(f"http://127.0.0.1:{port}")
        judge.begin()
        assert len(listened(judge, model, sound(3.0))) == 2
    assert len(lines(caplog)) == 1 and str(status) in lines(caplog)[0]


def test_a_server_that_keeps_silent_is_not_waited_for(judge_at, model, sound, monkeypatch, caplog):
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        judge = judge_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        judge.begin()
        assert len(listened(judge, model, sound(16.0))) == 11
        assert time.monotonic() - began < 5.0
        assert sum(thread.name == "wakeword-judge" for thread in threading.enumerate()) == 8
    assert len(lines(caplog)) == 1 and "nothing came from http" in lines(caplog)[0]


def test_a_question_holds_nothing_up_and_answers_keep_their_order(judge_at, model, sound, monkeypatch):
    let_go, asked = threading.Event(), []

    def slow(client, pcm, rate):
        asked.append(len(pcm))
        return SimpleNamespace(events=[SimpleNamespace(word="hey robin")] if let_go.wait(10) else [])

    monkeypatch.setattr(JudgeClient, "model", lambda client: SimpleNamespace(words=["hey robin"]))
    monkeypatch.setattr(JudgeClient, "verify_pcm", slow)
    judge = judge_at(NOWHERE, "reject")
    detector, counted = Detector(model), []
    pcm = sound(5.8)
    for start in range(0, len(pcm), 1_280):
        counted += judge.push(pcm[start : start + 1_280], detector.process(pcm[start : start + 1_280]))
    assert counted == [] and len(asked) == 3
    let_go.set()
    times = [one.time for one in judge.finish()]
    assert times == sorted(times) and len(times) == 4 and max(asked) == 2.5 * 16_000


def test_a_server_that_comes_back_is_asked_again(judge_at, server, model, sound, caplog):
    """One that confirms nothing, in the middle of a stream."""
    caplog.set_level("INFO", remote.__name__)
    pcm, detector, counted = sound(10.5, level=400), Detector(model), []
    judge = judge_at(NOWHERE)
    nowhere = judge._client
    with served(server(cascade={"sentry_threshold": 0.96})) as (port, _):
        for third, client in enumerate([nowhere, JudgeClient(f"http://127.0.0.1:{port}"), nowhere]):
            judge._client = client
            piece = pcm[third * 56_000 : (third + 1) * 56_000]
            counted += judge.push(piece, detector.process(piece))
            while judge._asked:
                counted += judge.push(piece[:0], [])
    assert [one.time for one in counted] == pytest.approx([1.0, 2.5, 7.0, 8.5], abs=0.1)
    said = ["the judge gives no answer ", "the judge answers again", "the judge gives no answer "]
    assert [line.split("(")[0] for line in lines(caplog)] == said
