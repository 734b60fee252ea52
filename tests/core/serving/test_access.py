"""Who is let in: tokens, names and origins; and what is not there to be had."""

import socket

import pytest

from wakeword_core.serving import network
from wakeword_core.serving.access import BearerToken
from wakeword_core.serving.refusals import RefusedError


@pytest.fixture
def client(serving):
    with serving() as one:
        yield one


def test_answers_are_sent_at_once():
    """Without waiting until the client has acknowledged what was sent before."""
    with network.listening_socket("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret", "Bearer sécret"]
)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/model", "/v1/model/streaming.onnx", "/metrics"])
def test_without_the_token_nothing_is_told(refused, lasting, path, given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    response = lasting.request("POST" if path == "/v1/verify" else "GET", path, headers=headers)
    refused(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_and_states_need_none(lasting):
    assert lasting.get("/v1/model?token=wrong", headers={"Authorization": "bearer secret"}).status_code == 200
    assert [lasting.get(path).status_code for path in ("/health", "/ready", "/openapi.json")] == [200] * 3


def test_the_token_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(network.secrets, "compare_digest", lambda one, other: compared.append(one) or False)
    with pytest.raises(RefusedError):
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
def test_other_names_and_pages_are_refused(refused, client, headers, status):
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
def test_paths_that_are_not_there(refused, client, path):
    response = client.get(path)
    refused(response, 404, "not_found")


def test_methods_that_are_not_there(refused, client):
    response = client.delete("/v1/verify")
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    client.request("BREW", "/v1/verify")
    text = client.get("/metrics").text
    assert 'method="other"' in text and "BREW" not in text
