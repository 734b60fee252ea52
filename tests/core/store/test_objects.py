"""What is asked of a store elsewhere, and what is said of its names."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from in_thread import answering

pytest.importorskip("obstore", reason="the extra remote is not installed")

from wakeword_core.config.remote import url_problem
from wakeword_core.errors import RemoteError
from wakeword_core.store.objects import Objects

SERVERS = "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has nothing, and the paths that it is asked for."""
    paths: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

    for name in SERVERS:
        monkeypatch.delenv(name, raising=False)
    with answering(Nothing) as url:
        yield url, paths


def test_a_container_of_azure_is_that_of_the_account_in_the_url(
    asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, paths = asked
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", server)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert Objects("az://account/container/a folder").read("name", 10) is None
    assert paths == ["/container/a%20folder/name"]


def test_a_web_server_is_asked_whatever_server_speaks_s3(
    asked: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, paths = asked
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
    assert Objects(f"{server}/folder").read("a name", 10) is None
    assert paths == ["/folder/a%20name"]


def test_a_bucket_on_the_web_needs_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("account.blob.core.windows.net", "bucket.s3.eu-west-1.amazonaws.com"):
        assert type(Objects(f"https://{host}/folder")._store).__name__ == "HTTPStore"


def test_a_name_that_no_path_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "a\nb").write_bytes(b"")
    with pytest.raises(RemoteError, match=r"no path may have a name such as '.*'; rename it, or remove it"):
        list(Objects(tmp_path.as_uri()).list())


@pytest.mark.parametrize("url", ["file:///", "file:////", "az://account", "az://account/"])
def test_a_url_has_to_name_a_folder_or_a_container(url: str) -> None:
    assert "it must begin with" in url_problem(url)
