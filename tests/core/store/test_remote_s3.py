"""Artifacts shared through a real S3 server: wrong keys, refusals, and lines that are slow, silent, or break."""

import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("obstore", reason="obstore is not installed; the extra remote brings it")
pytest.importorskip("moto", reason="moto is not installed; the extra dev brings it")
sys.path.insert(0, str(Path(__file__).parent))

from s3_server import Line, S3Server, s3_server
from shared_artifacts import FILES, machine, make, never, writes

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.errors import DataError, RemoteError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.store.artifacts import CARD, ArtifactStore
from wakeword_core.store.objects import Objects
from wakeword_core.store.remote import Remote

pytestmark = pytest.mark.server
_NUMBERS = count()
SECRET = "a-secret-of-a-test"
LARGE = {"weights": bytes(range(256)) * 24_000}
"""More than one part of an upload."""
MOVE = """
import sys
from pathlib import Path
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.store.objects import Objects
from wakeword_core.store.remote import Remote

how, root, url, key = sys.argv[1:]
remote = Remote(url)
store = ArtifactStore(Path(root), remote)
print("begins", flush=True)
remote.push(store.find("model", key)) if how == "push" else store.fetch("model", key)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a bucket of the test's own."""
    use(monkeypatch, server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket = f"bucket-{next(_NUMBERS)}"
    server.make_bucket(bucket)
    return f"s3://{bucket}/a team"


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakeword_core.store.objects._SILENT_SECONDS", 0.3)


def test_recordings_in_a_bucket_are_copied_and_an_object_with_another_etag_is_another_recording(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    config = load_config(None, [f"data.sources=[{{name: words, path: '{url}/words', role: negative}}]"])
    objects = Objects(f"{url}/words")
    with pytest.raises(DataError, match="source 'words' has no files at s3://"):
        scan_all(config, tmp_path)
    for name in ("ada/1.wav", "bo/2.wav"):
        objects.write(name, name.encode())
    first = scan_all(config, tmp_path)
    objects.write("bo/2.wav", b"bo/3.wav")
    second = scan_all(config, tmp_path)
    assert first[0] == second[0] == hashlib.sha256(b"ada/1.wav").hexdigest()
    assert second[1] == hashlib.sha256(b"bo/3.wav").hexdigest() != first[1]
    listed = [replace(entry, etag='"of another time"') for entry in objects.list()]
    monkeypatch.setattr(Objects, "list", lambda self, folder="": listed)
    with pytest.raises(DataError, match=r"could not read .*: it is being changed; run again when it is at rest"):
        scan_all(config, tmp_path)


def test_folders_that_a_console_made_are_no_recordings(
    tmp_path: Path, server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    words = url.replace(" ", "-")
    bucket, folder = words.removeprefix("s3://").split("/")
    for name in (folder, f"{folder}/ada"):
        server.make_folder(bucket, name)
    Objects(words).write("ada/1.wav", b"of Ada")
    config = load_config(None, [f"data.sources=[{{name: words, path: '{words}', role: negative}}]"])
    assert scan_all(config, tmp_path) == [hashlib.sha256(b"of Ada").hexdigest()]


def scan_all(config: Config, folder: Path) -> list[str]:
    """The ids of all recordings of a project, by path."""
    config = config.model_copy(update={"data": config.data.model_copy(update={"missing_source": "fail"})})
    return Project(config, folder / "home").listing().columns["recording_id"]


def test_what_one_machine_built_another_takes(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[str, int, int]] = []
    with caplog.at_level(logging.DEBUG):
        uploads = machine(tmp_path / "one", url, uploads=True, progress=lambda *how: shown.append(how))
        first = make(uploads, files=LARGE | FILES)[0]
        second, built = make(machine(tmp_path / "two", url), fill=never)
    assert not built and second.content == first.content
    assert {name: hash_file(second.file(name)) for name in second.files} == {
        name: entry.sha256 for name, entry in first.files.items()
    }
    assert ("upload model (kB)", 6_444, 6_444) in shown
    said = caplog.text + "".join(capfd.readouterr()) + (second.path / CARD).read_text()
    assert SECRET not in said and "somebody" not in said


def test_two_who_write_and_two_who_read_at_once(tmp_path: Path, url: str) -> None:
    stores = [machine(tmp_path / name, url, uploads=True) for name in "abcd"]
    files = {f"{number}": bytes([number]) * 1_000 for number in range(12)}
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda store: make(store, files=files), stores))
    assert len({artifact.content for artifact, _ in made}) == 1
    fetched = machine(tmp_path / "e", url).fetch("model", made[0][0].key)
    assert fetched is not None and fetched.damaged(read=True) == []


def test_a_wrong_key_is_said_without_it(
    tmp_path: Path, server: S3Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = machine(tmp_path / "one", url, uploads=True)
    with server.check_keys():
        with pytest.raises(RemoteError, match=r"refused to read artifacts/model/0/artifact.json: the keys in the env"):
            store.fetch("model", "0")
        with pytest.raises(RemoteError, match="refused to list artifacts"):
            Remote(url).artifacts(store.root)
        with caplog.at_level(logging.WARNING):
            artifact, built = make(store)
    assert built and f"model {artifact.key} is built here" in caplog.text
    assert SECRET not in caplog.text and "somebody" not in caplog.text
    assert Remote(url).push(artifact)


def test_without_keys_it_cannot_be_opened(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RemoteError, match=r"could not be opened \(Generic S3 error: Missing AccessKeyId\)"):
        Remote(url).artifacts(Path("/none"))


def test_a_bucket_that_refuses_writes_is_still_read(tmp_path: Path, server: S3Server, url: str) -> None:
    artifact = make(machine(tmp_path / "one", url, uploads=True))[0]
    server.deny_writes(url.split("/")[2])
    other = make(ArtifactStore(tmp_path / "other"), "other", files={"new": b"n"})[0]
    with pytest.raises(RemoteError, match="refused to write files/"):
        Remote(url).push(other)
    assert machine(tmp_path / "two", url).fetch("model", artifact.key)


def test_a_bucket_that_there_is_not(tmp_path: Path, url: str) -> None:
    nowhere = Remote(url.replace("bucket-", "nowhere-"))
    with pytest.raises(RemoteError, match="there is no bucket for s3://nowhere-"):
        nowhere.push(make(ArtifactStore(tmp_path / "store"))[0])
    with pytest.raises(RemoteError, match="could not list artifacts: there is no such bucket"):
        nowhere.artifacts(tmp_path)


def test_no_network_is_said_soon_and_the_build_goes_on(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    use(monkeypatch, f"http://127.0.0.1:{port}")
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert make(machine(tmp_path / "one", url))[1]
    assert "HTTP error: error sending request" in caplog.text and time.monotonic() - began < 10
    assert str(port) not in caplog.text


def test_a_server_that_never_answers_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        use(monkeypatch, f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(RemoteError, match=r"could not read .*try again when it can be reached"):
            Remote(url).fetch("model", "0", Path("/none"))


def test_a_slow_line_takes_its_time(
    tmp_path: Path, server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """Longer than a line may be silent."""
    make(machine(tmp_path / "one", url, uploads=True))
    line = Line(server.port, bytes_a_second=250_000)
    use(monkeypatch, line.endpoint)
    shown: list[tuple[str, int, int]] = []
    artifact = make(machine(tmp_path / "two", url, progress=lambda *how: shown.append(how)), fill=never)[0]
    line.close()
    assert artifact.damaged(read=True) == []
    assert {what for what, _, _ in shown} == {"fetch model (kB)"} and len({done for _, done, _ in shown}) > 1


def test_a_line_that_breaks_costs_only_what_was_not_there_yet(
    tmp_path: Path, server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make(machine(tmp_path / "one", url, uploads=True), files=LARGE)[0]
    other = machine(tmp_path / "two", url)
    line = Line(server.port, breaks_after=4_000_000)
    use(monkeypatch, line.endpoint)
    with pytest.raises(RemoteError, match="could not read files/"):
        other.fetch("model", artifact.key)
    line.close()
    assert other.find("model", artifact.key) is None
    line = Line(server.port)
    use(monkeypatch, line.endpoint)
    fetched = machine(tmp_path / "two", url).fetch("model", artifact.key)
    line.close()
    assert fetched is not None and fetched.damaged(read=True) == []
    assert line.received < len(LARGE["weights"]) - 2_000_000


@pytest.mark.parametrize("how", ["push", "pull"])
def test_what_is_killed_leaves_nothing_half(
    how: str, tmp_path: Path, server: S3Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine(tmp_path / "one", url, uploads=how == "pull")
    artifact = make(store, fill=writes({f"{number}": bytes([number]) * 100_000 for number in range(8)}))[0]
    root = store.root if how == "push" else tmp_path / "two" / "store"
    line = Line(server.port, bytes_a_second=30_000)
    environment = os.environ | {"AWS_ENDPOINT_URL": line.endpoint, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", MOVE, how, str(root), url, artifact.key]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"begins\n"
    while max(line.sent, line.received) < 50_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    line.close()
    two = machine(tmp_path / "two", url)
    if how == "push":
        assert two.fetch("model", artifact.key) is None
        assert Remote(url).push(artifact)
    else:
        assert two.find("model", artifact.key) is None
    fetched = two.fetch("model", artifact.key)
    assert fetched is not None and fetched.damaged(read=True) == []
