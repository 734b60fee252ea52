"""Dagster's pages behind their guard: who uses them may do everything, and no page of another origin anything."""

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
from chromium import chromium
from dagster._core.workspace.context import WorkspaceProcessContext
from in_thread import served
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient, WebSocketDenialResponse

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect
URL, STREAM = "http://localhost:3000", "ws://localhost:3000/graphql"
JSON = {"Content-Type": "application/json"}
CROSS, SAME_SITE = {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}
LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
READ = "{version}"


@dg.job
def nothing() -> None:
    pass


class Pages:
    """The pages of an instance with one run and no code."""

    def __init__(self, instance: dg.DagsterInstance, context: WorkspaceProcessContext) -> None:
        self.instance, self._context = instance, context
        self.run_id = instance.create_run_for_job(nothing).run_id
        self.deletion = f'mutation Wipe {{ deletePipelineRun(runId: "{self.run_id}") {{ __typename }} }}'
        self.client = self.opened()

    def app(self, hosts: tuple[str, ...], token: str) -> Starlette:
        # by the one process that opens them: it takes a second of each that only lists these tests
        from dagster_webserver.app import create_app_from_workspace_process_context

        from wakeword_pipeline.orchestration.web import PagesGuard

        app = create_app_from_workspace_process_context(self._context)
        app.add_middleware(PagesGuard, hosts=hosts, token=token)
        return app

    def opened(self, hosts: tuple[str, ...] = ("localhost",), token: str = "") -> TestClient:
        return TestClient(self.app(hosts, token), URL, raise_server_exceptions=False)

    def is_changed(self) -> bool:
        forged = self.instance.get_latest_materialization_event(dg.AssetKey("forged"))
        return forged is not None or not self.instance.has_run(self.run_id)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = str(tmp_path_factory.mktemp("dagster"))
    with (
        dg.DagsterInstance.local_temp(folder) as instance,
        WorkspaceProcessContext(instance, None, version=dg.__version__) as context,
    ):
        yield Pages(instance, context)


def stream_status(client: TestClient, headers: Any) -> int:
    """The status with which a WebSocket is refused."""
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(STREAM, headers=headers):
        pytest.fail("it was opened")
    return refused.value.status_code


def get(document: str, *more: str, path: str = "/graphql") -> str:
    return "&".join([f"{path}?query={quote(document)}", *more])


@pytest.mark.parametrize(
    ("document", "more"),
    [
        ("WIPE", ()),
        ("WIPE", (f"query={quote(READ)}",)),
        ("# {version}\nWIPE", ()),
        ("\ufeffWIPE", ()),
        ("query Read {version} WIPE", ("operationName=Wipe",)),
        ("query Read {version} WIPE", ("operationName=Read",)),
        ("fragment Any on Query {version} WIPE", ()),
        ("subscription { capturedLogs(logKey: []) { cursor } }", ()),
        ("{version", ()),
        ("{a" * 5_000, ()),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_a_get_changes_nothing(pages: Pages, document: str, more: tuple[str, ...], accept: str) -> None:
    document = document.replace("WIPE", pages.deletion)
    for path in (get(document, *more), get(READ, f"query={quote(document)}", *more)):
        for method in ("GET", "HEAD"):
            assert pages.client.request(method, path, headers={"Accept": accept}).status_code == 405
    assert not pages.is_changed()


@pytest.mark.parametrize("path", ["/graphql%0A", "/graphql/", "/%67raphql", "/graphql/%0A", "/graphql%00"])
def test_another_spelling_of_the_path_changes_nothing(pages: Pages, path: str) -> None:
    assert pages.client.get(get(pages.deletion, path=path)).status_code == 405
    assert not pages.is_changed()


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data; b=c",
     "application/json-text", "text/json,application/json", "", None],
)  # fmt: skip
def test_what_a_form_can_send_changes_nothing(pages: Pages, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    posted = [
        (get(pages.deletion), b""),
        ("/graphql", b'{"query": "%s"}' % pages.deletion.replace('"', '\\"').encode()),
        ("/graphql", f"query={quote(pages.deletion)}".encode()),
        *((f"/report_asset_{what}/forged", b"") for what in ("materialization", "observation", "check")),
        ("/report_asset_materialization/?asset_key=forged", b""),
    ]
    for path, body in posted:
        assert pages.client.post(path, content=body, headers=headers).status_code == 415, path
    assert not pages.is_changed()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "https://localhost.evil.example:3000"}, 403), (CROSS, 403), (SAME_SITE, 403),
        ({**CROSS, **LINK}, 403), ({**CROSS, "Origin": URL}, 403), ({"Sec-Fetch-Site": "odd"}, 403),
        ({"Host": "evil.example"}, 421), ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Host": "localhost.evil.example:3000"}, 421), ({"Host": ""}, 421),
    ],
)  # fmt: skip
def test_pages_of_other_origins_and_names_get_nothing(pages: Pages, headers: dict[str, str], status: int) -> None:
    body = {"query": pages.deletion}
    assert pages.client.post("/graphql", json=body, headers=headers).status_code == status
    assert pages.client.post("/report_asset_materialization/forged", json={}, headers=headers).status_code == status
    assert pages.client.get(get(READ), headers=headers).status_code == status
    assert stream_status(pages.client, headers) == status
    assert not pages.is_changed()


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({**CROSS, **LINK}, "/runs", 200),
        ({**CROSS, **LINK}, "/graphql", 403),
        ({**CROSS, **LINK}, "/graphql%0A?query={version}", 403),
        ({**CROSS, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, "/runs", 403),
        ({**CROSS, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, "/favicon.png", 403),
    ],
)
def test_other_sites_link_to_a_page_and_do_not_show_it(
    pages: Pages, headers: dict[str, str], path: str, status: int
) -> None:
    answer = pages.client.get(path, headers=headers)
    assert answer.status_code == status and answer.headers["x-frame-options"] == "DENY"


def test_a_reverse_proxys_name_is_answered_where_it_is_allowed(pages: Pages) -> None:
    headers = {"Host": "wakeword.example.org", "Origin": "https://wakeword.example.org"}
    assert pages.client.post("/graphql", json={"query": READ}, headers=headers).status_code == 421
    client = pages.opened(("localhost", "wakeword.example.org"))
    for port, status in (("", 200), (":443", 200), (":80", 403), (":8443", 403)):
        headers["Host"] = f"wakeword.example.org{port}"
        assert client.post("/graphql", json={"query": READ}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer secret", 200), ("Basic " + base64.b64encode(b"me:secret").decode(), 200), (None, 401), ("Bearer", 401),
        ("Basic " + base64.b64encode(b"secret:").decode(), 401), ("Basic !", 401), ("Basic gICA", 401),
        ("Bearer sécret", 401), ("secret", 401),
    ],
)  # fmt: skip
def test_with_a_token_every_request_needs_it(pages: Pages, given: str | None, status: int) -> None:
    client = pages.opened(token="secret")
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = client.post("/graphql", json={"query": READ}, headers=headers)
    assert answer.status_code == status and client.get("/server_info").status_code == 200
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert stream_status(client, headers) == 401


EVIL = """
<img src="URL/graphql?query=QUERY">
<form method="post" action="URL/graphql?query=QUERY" target="frame"><input name="query"></form>
<iframe name="frame"></iframe><iframe name="shown" src="URL/runs"></iframe>
<script>
const body = JSON.stringify({query: decodeURIComponent("QUERY")});
const post = (type, path) => fetch("URL" + path, {method: "POST", mode: "no-cors", body: new Blob([body], {type})});
const opened = new Promise(resolve => {
    const socket = new WebSocket("WS/graphql", "graphql-ws");
    socket.onopen = () => resolve("opened");
    socket.onerror = () => resolve("refused");
});
document.forms[0].submit();
const all = Promise.allSettled([
    fetch("URL/graphql?query=QUERY", {mode: "no-cors"}), post("text/plain", "/graphql"),
    post("", "/graphql?query=QUERY"), post("text/plain;application/json", "/graphql"),
    post("", "/report_asset_materialization/forged"),
    fetch("URL/graphql", {method: "POST", headers: {"Content-Type": "application/json"}, body}), opened,
]);
</script>
"""


@pytest.mark.browser
@pytest.mark.server
def test_a_page_of_another_origin_in_a_browser_changes_nothing(pages: Pages) -> None:
    """On another site, as `localhost` is for `127.0.0.1`, and on the same one, behind another port."""
    app, options = pages.app(("127.0.0.1",), ""), {"ws": "auto", "lifespan": "off", "log_level": "critical"}
    with served(app, **options) as at, chromium() as browser:
        url = at.url
        text = EVIL.replace("URL", url).replace("WS", url.replace("http", "ws")).replace("QUERY", quote(pages.deletion))
        page = browser.new_page()
        statuses: list[int] = []
        page.on("response", lambda answer: statuses.append(answer.status) if answer.url.startswith(url) else None)
        with served(HTMLResponse(text), **options) as elsewhere:
            for name in ("localhost", "127.0.0.1"):
                page.goto(elsewhere.url.replace("127.0.0.1", name), wait_until="load")
                assert page.evaluate("all")[-1]["value"] == "refused"
        assert set(statuses) == {403} and len(statuses) >= 2 * 7 and not pages.is_changed()
        page.goto(f"{url}/runs")  # as the pages themselves ask
        expect(page.get_by_text(pages.run_id[:8]).first).to_be_visible(timeout=30_000)


def test_who_uses_the_pages_reads_and_changes(pages: Pages) -> None:
    own = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
    assert pages.client.get(get(READ), headers=own).json()["data"]["version"] == dg.__version__
    assert "graphiql" in pages.client.get("/graphql", headers={"Accept": "text/html"}).text
    with pages.client.websocket_connect(STREAM, ["graphql-ws"], headers=own) as stream:
        stream.send_json({"type": "connection_init"})
        assert stream.receive_json() == {"type": "connection_ack"}
    assert pages.client.post("/graphql", json={"query": pages.deletion}, headers=own).status_code == 200
    assert pages.is_changed()
