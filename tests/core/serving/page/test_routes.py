"""What the page's routes answer."""

import asyncio
import base64
import hashlib
import re
import socket
import time
from dataclasses import replace

import httpx2
import pytest
from fastapi.testclient import TestClient
from page_server import NOWHERE

from wakeword_core.serving.page import routes
from wakeword_core.serving.page.onnxruntime_web import MODULE, PACKAGE
from wakeword_core.serving.page.page_app import page_app

FOLDER = f"/ort/{PACKAGE.version}"


def app_with(cache):
    """The page, with a folder of caches."""
    app = page_app("page", routes.FILES, hosts=())
    app.include_router(routes.runtime_routes(cache))
    return app


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A server of the page whose registry cannot be reached."""
    monkeypatch.setenv("npm_config_registry", NOWHERE)
    return TestClient(app_with(tmp_path))


def put_files(cache, monkeypatch) -> dict[str, bytes]:
    contents = {name: name.encode() for name in PACKAGE.files}
    folder = PACKAGE.kept_in(cache)
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(routes, "PACKAGE", replace(PACKAGE, files=digests))
    return contents


def test_every_script_that_the_page_names_is_served_as_a_script(client) -> None:
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
        kind = "text/html" if path == "/" else "text/javascript"
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        seen.add(path)
        left += [f"/{name}" for name in re.findall(r'"(?:\./)?(\w+\.js)"', answer.text) if f"/{name}" not in seen]
    scripts = ("detector", "microphone_worklet", "pictures", "places", "sound")
    assert seen == {"/", *(f"/{name}.js" for name in scripts)}


def test_the_policy_allows_what_is_in_the_page_and_no_other_inline_script(client) -> None:
    answer = client.get("/")
    directives = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert directives["default-src"] == directives["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in str(directives) and "'unsafe-eval'" not in str(directives)
    for kind in ("script", "style"):
        inline = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert len(inline) == 1 and f"'sha256-{digest}'" in directives[f"{kind}-src"]
    assert not re.findall(r"https?://|\sstyle=|\son\w+=", answer.text)


def test_a_page_that_is_known_is_not_sent_again(client) -> None:
    first = client.get("/detector.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/detector.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content
    assert client.get("/detector.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_without_onnxruntime_web_it_says_why_and_looks_again_after_a_while(client, tmp_path, monkeypatch) -> None:
    told = client.get("/ort").json()
    assert told["module"] == "" and NOWHERE in told["reason"]
    assert client.get(f"{FOLDER}/{MODULE}").status_code == 404
    put_files(tmp_path, monkeypatch)
    assert client.get("/ort").json() == told
    monkeypatch.setattr(routes.time, "monotonic", lambda: float("inf"))
    assert client.get("/ort").json()["module"] == f"{FOLDER}/{MODULE}"[1:]


def test_a_registry_that_does_not_answer_holds_nobody_up(tmp_path, monkeypatch) -> None:
    """Neither other requests, nor refusals, nor the end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{silent.getsockname()[1]}")
        app = app_with(tmp_path)
        transport = httpx2.ASGITransport(app)

        async def ask_much() -> tuple[list[int], float]:
            async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
                waiting = [asyncio.create_task(client.get("/ort")) for _ in range(50)]
                await asyncio.sleep(0.05)
                began = time.perf_counter()
                others = [(await client.get(path)).status_code for path in ("/", "/nowhere", "/detector.js")]
                took = time.perf_counter() - began
                return [*others, *{(await one).status_code for one in waiting}], took

        statuses, took = asyncio.run(ask_much())
        assert statuses == [200, 404, 200, 503] and took < 0.5
        answer = TestClient(app).get("/ort")
        assert answer.json()["code"] == "being_fetched" and answer.headers["retry-after"] == "2"
        silent.settimeout(0.3)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()  # it was asked once


def test_a_registry_that_is_no_address_is_a_reason_too(client, monkeypatch) -> None:
    monkeypatch.setenv("npm_config_registry", "ftp://example.org")
    assert "has to be an address" in client.get("/ort").json()["reason"]


def test_its_files_have_the_types_a_browser_asks_for_and_are_kept_for_ever(client, tmp_path, monkeypatch) -> None:
    contents = put_files(tmp_path, monkeypatch)
    (PACKAGE.kept_in(tmp_path) / "other.js").write_text("not ours")
    types = {".mjs": "text/javascript; charset=utf-8", ".wasm": "application/wasm"}
    for name, content in contents.items():
        answer = client.get(f"{FOLDER}/{name}")
        assert answer.content == content and "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"] == types[name[name.rindex(".") :]]
    for name in ("other.js", "..%2f..%2fsecret", "%2e%2e", ""):
        assert client.get(f"{FOLDER}/{name}").status_code == 404
