"""What the page's server answers, and whom."""

import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from spoken import RATE, take

from wakeword_core.errors import WakewordError
from wakeword_core.studio import folder as folder_module
from wakeword_core.studio.server import create_app, serve_page

SOURCE = "data: {}"


@pytest.fixture
def client(plan):
    """The page's server, as this machine's browser reaches it."""
    return TestClient(create_app(plan(), "Anna", SOURCE), base_url="http://127.0.0.1:8766")


def begin(client, speaker="Anna"):
    text = client.get("/v1/sitting").json()["consent"].replace("{speaker}", speaker)
    return client.post("/v1/sitting", json={"speaker": speaker, "consent": text})


def change(client, place, what, content=b"", sitting=None):
    sitting = sitting or client.get("/v1/sitting").json()["sitting"] or "none"
    return client.post(f"/v1/sitting/{sitting}/{place}/{what}", content=content)


def offer(client, pcm, place=0, sitting=None):
    return change(client, place, "take", pcm.astype("<i2").tobytes(), sitting)


def test_before_a_sitting_the_page_knows_what_to_agree_to(client, folder) -> None:
    state = client.get("/v1/sitting").json()
    assert (state["speaker"], state["ask"], state["kept"]) == (None, None, [])
    assert state["phrase"] == "hey robin" and state["suggested"] == "Anna" and state["source"] == SOURCE
    assert "{speaker}" in state["consent"] and state["folder"] == str(folder.folder)


def test_a_whole_sitting(client, folder) -> None:
    state = begin(client, "Anna Ö").json()
    assert state["speaker"] == "Anna Ö" and state["total"] == 2
    assert state["ask"]["text"] == "hey robin" and state["ask"]["place"] == 0
    verdict = offer(client, take()).json()
    assert verdict["fault"] == "quiet" and "too quiet" in verdict["sentence"] and verdict["state"]["kept"] == []
    verdict = offer(client, take(1.0)).json()
    assert verdict["fault"] is None and verdict["state"]["ask"]["place"] == 1
    (kept,) = verdict["state"]["kept"]
    assert kept["path"] == folder.rows()[0]["path"] and kept["speech_seconds"] > 0.5
    state = change(client, 1, "take-back").json()
    assert state["kept"] == [] == folder.rows() and state["ask"]["place"] == 0
    assert change(client, 0, "skip").json()["ask"]["place"] == 1
    assert offer(client, take(1.0), 1).json()["state"]["ask"] is None
    assert [row["speaker"] for row in folder.rows()] == ["Anna Ö"]


def test_nothing_is_recorded_without_the_consent_that_will_be_kept(client, folder) -> None:
    for asked in (
        {"speaker": "Anna", "consent": "yes"},
        {"speaker": "Anna", "consent": client.get("/v1/sitting").json()["consent"].replace("{speaker}", "Ben")},
        {"speaker": "", "consent": ""},
        {"speaker": "Anna"},
        ["Anna"],
    ):
        assert client.post("/v1/sitting", json=asked).status_code == 422
    answer = offer(client, take(1.0))
    assert answer.status_code == 409 and answer.json()["code"] == "elsewhere" and folder.rows() == []


def test_another_window_does_not_answer_for_this_one(client, folder) -> None:
    begin(client)
    assert offer(client, take(1.0)).status_code == 200
    late = offer(client, take(1.0))
    assert late.status_code == 409 and "another window" in late.json()["detail"] and len(folder.rows()) == 1


def test_what_is_said_to_one_sitting_is_never_kept_under_the_consent_of_another(client, folder) -> None:
    first = begin(client, "Anna").json()["sitting"]
    second = begin(client, "Ben").json()["sitting"]
    late = offer(client, take(1.0), sitting=first)
    assert late.status_code == 409 and folder.rows() == []
    assert offer(client, take(1.0), sitting=second).status_code == 200
    assert [row["speaker"] for row in folder.rows()] == ["Ben"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 422), (b"abc", 422), (b"\0" * (2 * 62 * RATE), 413), (b"\0" * 2, 200)],
)
def test_what_is_no_take_is_refused(client, content, status) -> None:
    begin(client)
    answer = change(client, 0, "take", content)
    assert answer.status_code == status
    assert answer.json()["detail" if status > 200 else "sentence"]


def test_an_agreement_is_read_up_to_a_limit(client) -> None:
    assert client.post("/v1/sitting", content=b'{"speaker": "' + b"x" * 20_000).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8766"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8766"}, 200),
        ({"Host": "localhost:8766"}, 200),
        ({"Host": "[::1]:8766"}, 200),
    ],
)
def test_only_its_own_page_is_answered(client, headers, status) -> None:
    answer = client.get("/v1/sitting", headers=headers)
    assert answer.status_code == status and (status == 200 or "the address that was printed" in answer.json()["detail"])


def test_nothing_is_named_that_is_not_there(client) -> None:
    assert client.get("/nothing").json()["detail"] == "GET /nothing: Not Found"


def test_a_disk_that_is_full_is_a_sentence_and_the_sitting_goes_on(client, folder, monkeypatch) -> None:
    begin(client)

    def full(*_):
        raise OSError(28, "No space left on device", str(folder.table))

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "write_text", full)
        answer = offer(client, take(1.0))
        assert answer.status_code == 422 and answer.json()["detail"].endswith("No space left on device")
    assert list(folder.folder.rglob("*.flac")) == []
    assert offer(client, take(1.0)).status_code == 200


def test_the_page_and_its_scripts_are_whole_and_run_nothing_else(client) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["permissions-policy"] == "microphone=(self)"
    assert not re.findall(r"https?://|\sstyle=|\son\w+=", page.text)
    seen, left = set(), [page.text]
    while left:
        names = {f"/{name}" for name in re.findall(r'"(?:\./)?(\w+\.js)"', left.pop())} - seen
        seen |= names
        for name in names:
            script = client.get(name)
            assert script.headers["content-type"] == "text/javascript; charset=utf-8"
            left.append(script.text)
    assert seen == {"/studio.js", "/sound.js", "/microphone_worklet.js"}
    for name in ("/detector.js", "/..%2fserver.py", "/recordings.csv", "/openapi.json"):
        assert client.get(name).status_code == 404


def test_a_port_that_is_taken_is_said(plan) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(WakewordError, match="--port"):
        serve_page(plan(), "", "", taken.getsockname()[1], print)


def test_samples_arrive_as_they_were_sent(client, folder) -> None:
    import soundfile

    begin(client)
    pcm = take(1.0)
    offer(client, pcm)
    sound, rate = soundfile.read(folder.folder / folder.rows()[0]["path"], dtype="int16")
    np.testing.assert_array_equal(sound, pcm)
    assert rate == RATE
