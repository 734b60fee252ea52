"""Sources that lie in a store elsewhere: copied once, and again where the store says that they changed."""

import functools
import json
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from in_thread import answering

pytest.importorskip("obstore", reason="the extra remote is not installed")

from wakeword_core.config.loading import load_config, save_config
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.graph.project import Project
from wakeword_core.recordings.scan import Listing
from wakeword_core.store.objects import Entry, Objects

WEAK_ETAG = 'W/"weak"'


class Source:
    """Recordings in a store, and the project of a machine that names them by URL."""

    def __init__(self, folder: Path, tmp_path: Path) -> None:
        self.folder, self.home = folder, tmp_path / "home"
        self.fetched: list[str] = []

    def project(self, path: str | None = None, *settings: str, more: str = "") -> Project:
        source = f"{{name: words, path: '{path or self.folder.as_uri()}', role: negative, speaker: parent{more}}}"
        return Project(load_config(None, [f"data.sources=[{source}]", *settings]), self.home)

    def listing(self, *arguments: str, more: str = "") -> Listing:
        self.fetched.clear()
        return self.project(*arguments, more=more).listing()

    @property
    def copy(self) -> Path:
        return self.project().config.data.sources[0].path


@pytest.fixture
def source(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    made, stream = Source(recordings, tmp_path), Objects.stream

    def noting(self: Objects, name: str, *arguments: Any, **options: Any) -> Any:
        made.fetched.append(name)
        return stream(self, name, *arguments, **options)

    monkeypatch.setattr(Objects, "stream", noting)
    return made


def test_recordings_of_a_store_are_those_of_the_folder(source: Source) -> None:
    there, here = source.project(), source.project(str(source.folder))
    assert there.fingerprint() == here.fingerprint() and len(source.fetched) == 10
    manifest = there.stages["raw_manifest"]
    assert manifest.deciding_settings(there.config, None) == manifest.deciding_settings(here.config, None)


def test_only_what_changed_is_fetched_again(source: Source, write_tone) -> None:
    before = source.listing()
    assert source.listing().fingerprint == before.fingerprint and source.fetched == []
    write_tone(source.folder / "spk0" / "0.wav", seed=99)
    (source.folder / "spk1" / "2.wav").unlink()
    write_tone(source.folder / "new" / "n.wav", seed=100)
    after = source.listing()
    assert sorted(source.fetched) == ["new/n.wav", "spk0/0.wav"]
    assert after.fingerprint == source.listing(str(source.folder)).fingerprint != before.fingerprint
    assert not (source.copy / "spk1" / "2.wav").exists()


def test_what_is_lost_or_strange_in_the_copy_is_put_right(source: Source, tmp_path: Path) -> None:
    whole = source.listing().fingerprint
    (source.copy / "spk0" / "0.wav").unlink()
    (source.copy / "spk0" / "1.wav").write_bytes(b"cut")
    (source.copy / "stray.wav").write_bytes(b"stray")
    killed = source.copy.with_name(f".{source.copy.name}.json.{'0' * 12}.part")
    killed.write_bytes(b"half")
    shutil.rmtree(source.copy / "spk4")
    (tmp_path / "mine").mkdir()
    (source.copy / "spk4").symlink_to(tmp_path / "mine")
    assert source.listing().fingerprint == whole and len(source.fetched) == 4
    assert not (source.copy / "stray.wav").exists() and not killed.exists()
    assert list((tmp_path / "mine").iterdir()) == []


def test_include_decides_what_is_copied(source: Source) -> None:
    listing = source.listing(more=", include: ['spk[01]/*']")
    assert len(listing.columns["path"]) == len(source.fetched) == 4


def test_a_table_in_a_store_is_copied_with_its_recordings(source: Source) -> None:
    (source.folder / "words.csv").write_text("path,label\nspk0/0.wav,_negative\nspk3/7.wav,_negative\n")
    listing = source.listing(f"{source.folder.as_uri()}/words.csv")
    assert listing.columns["path"] == ["spk0/0.wav", "spk3/7.wav"] and "words.csv" in source.fetched


def test_more_than_the_setting_allows_is_refused_before_anything_is_fetched(source: Source) -> None:
    listing = source.listing(source.folder.as_uri(), "compute.copies_gb=0.0001")
    assert "more than compute.copies_gb leaves" in listing.missing["words"] and source.fetched == []
    with pytest.raises(DataError, match=r"0\.000\d+ GB at file:"):
        source.listing(source.folder.as_uri(), "compute.copies_gb=0.0001", "data.missing_source=fail")


def test_an_object_that_changes_while_it_is_read_is_no_recording(
    source: Source, monkeypatch: pytest.MonkeyPatch, write_tone
) -> None:
    listed = Objects.list

    def changing(self: Objects, folder: str = "") -> list[Entry]:
        entries = list(listed(self, folder))
        write_tone(source.folder / "spk0" / "0.wav", seconds=0.7, seed=99)
        return entries

    monkeypatch.setattr(Objects, "list", changing)
    problem = source.listing().missing["words"]
    assert "is not copied whole" in problem and "being changed" in problem and "run again" in problem
    monkeypatch.setattr(Objects, "list", listed)
    assert source.listing().missing == {} and "spk0/0.wav" in source.fetched


def test_an_object_that_vanishes_while_it_is_read_is_said(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Entry("spk9/gone.wav", 1_000, datetime.now(UTC), None)
    listed = Objects.list
    monkeypatch.setattr(Objects, "list", lambda self, folder="": [*listed(self, folder), gone])
    assert "spk9/gone.wav is being changed" in source.listing().missing["words"]


def test_without_a_network_the_last_whole_copy_is_used(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    whole = source.listing().fingerprint
    source.folder.rename(source.folder.with_name("away"))
    with caplog.at_level(logging.WARNING):
        assert source.listing().fingerprint == whole
    assert "source 'words' is used as it was copied last: there is no folder" in caplog.text
    (source.copy / "spk0" / "0.wav").unlink()
    assert "cannot be copied" in source.listing().missing["words"]


def test_a_copy_that_was_cut_off_is_not_used_and_gone_on_with(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, away = Objects.stream, source.folder.with_name("away")

    def breaks(self: Objects, name: str, *arguments: Any, **options: Any) -> Any:
        if name == "spk4/9.wav":
            raise OSError(28, "No space left on device")
        return stream(self, name, *arguments, **options)

    monkeypatch.setattr(Objects, "stream", breaks)
    assert "No space left on device; run again to go on" in source.listing().missing["words"]
    monkeypatch.setattr(Objects, "stream", stream)
    source.folder.rename(away)
    assert "cannot be copied" in source.listing().missing["words"]
    away.rename(source.folder)
    assert source.listing().missing == {} and "spk4/9.wav" in source.fetched and len(source.fetched) < 10


@pytest.mark.parametrize(
    "name", ["../outside.wav", "/outside.wav", "a/../../outside.wav", "a//b.wav", "a\x07.wav", "."]
)
def test_names_that_lead_elsewhere_are_left_out(
    source: Source, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listed = Objects.list
    hostile = Entry(name, 1_000, datetime.now(UTC), None)
    monkeypatch.setattr(Objects, "list", lambda self, folder="": [*listed(self, folder), hostile])
    with caplog.at_level(logging.WARNING):
        assert len(source.listing().columns["path"]) == 10
    assert "is no name that a file can have" in caplog.text
    assert not any(path.name == "outside.wav" for path in tmp_path.rglob("*"))


def test_a_url_is_kept_with_the_place_of_its_copy_and_shows_no_password(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = source.project("s3://bucket/a/words").config
    assert (config.data.sources[0].url, config.data.sources[0].path.name) == ("s3://bucket/a/words", "words")
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    hush = "hush"
    for url in (f"s3://key:{hush}@bucket/x", "https://hush/x", "s3://bucket/hush/.."):
        with pytest.raises(ConfigError) as raised:
            source.project(url)
        assert hush not in str(raised.value)
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", os.pathsep.join([str(tmp_path / "home"), str(tmp_path / "cache")]))
    with pytest.raises(ConfigError, match="the path of source 'words':"):
        source.listing()


def test_sources_of_one_url_have_each_what_it_chooses(source: Source) -> None:
    url, chosen = source.folder.as_uri(), {"one": "spk0/*", "two": "spk[12]/*", "three": "spk0/*"}
    sources = ", ".join(
        f"{{name: {name}, path: '{url}', role: negative, speaker: parent, include: ['{include}']}}"
        for name, include in chosen.items()
    )
    for fetched in (6, 0):
        columns = source.listing(url, f"data.sources=[{sources}]").columns
        found = sorted(zip(columns["source"], columns["path"], strict=True))
        assert found == [
            ("one", "spk0/0.wav"), ("one", "spk0/1.wav"),
            ("three", "spk0/0.wav"), ("three", "spk0/1.wav"),
            ("two", "spk1/2.wav"), ("two", "spk1/3.wav"), ("two", "spk2/4.wav"), ("two", "spk2/5.wav"),
        ]  # fmt: skip
        assert len(source.fetched) == fetched


def test_objects_that_stand_for_folders_are_no_recordings(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Consoles of stores make an empty object for each folder, and any object may be named as a folder is."""
    listed, now = Objects.list, datetime.now(UTC)
    more = [Entry("", 0, now, None), Entry("spk0", 0, now, None), Entry("spk1", 7, now, None)]
    monkeypatch.setattr(Objects, "list", lambda self, folder="": [*more, *listed(self, folder)])
    with caplog.at_level(logging.WARNING):
        listing = source.listing()
    assert listing.missing == {} and len(listing.columns["path"]) == 10
    assert [message for message in caplog.messages if "left out" in message] == [
        "source 'words': 'spk1' is the name of a folder, too; it is left out"
    ]


def test_a_file_may_become_a_folder_and_a_folder_a_file(source: Source, write_tone) -> None:
    for number, path in enumerate(["new.wav", "new.wav/deep/n.wav", "new.wav"]):
        write_tone(source.folder / path, seed=90 + number)
        assert path in source.listing().columns["path"] and path in source.fetched
        shutil.rmtree(source.folder / "new.wav", ignore_errors=True)
        (source.folder / "new.wav").unlink(missing_ok=True)


def test_names_that_are_too_long_are_left_out(source: Source, caplog: pytest.LogCaptureFixture, write_tone) -> None:
    longest, longer = (f"{'ü' * 116}{end}.wav" for end in ("", "x"))
    for name in (longest, longer):
        write_tone(source.folder / name, seed=90)
    assert longest in source.listing().columns["path"] and longer not in source.fetched
    assert "is no name that a file can have" in caplog.text


def test_without_a_network_a_copy_of_another_choice_is_not_taken_for_whole(source: Source) -> None:
    source.listing(more=", include: ['spk0/*']")
    source.folder.rename(source.folder.with_name("away"))
    assert source.listing(more=", include: ['spk0/*']").missing == {}
    assert "cannot be copied" in source.listing().missing["words"]


def test_a_cache_that_cannot_be_written_or_is_full_is_said_of_the_source(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert "only 0 MB are free" in source.listing().missing["words"]
    (tmp_path / "cache" / "sources").rename(tmp_path / "aside")
    (tmp_path / "cache" / "sources").write_text("a file")
    assert "(Not a directory); name another folder as WAKEWORD_CACHE" in source.listing().missing["words"]


class Web(SimpleHTTPRequestHandler):
    """A web server that holds requests to the etags that it gave out, and leads elsewhere on request."""

    def send_head(self) -> Any:
        if self.headers["If-Match"] not in (None, self._etag()) or self.headers["If-Match"] == WEAK_ETAG:
            self.send_error(412)
            return None
        if self.path.startswith("/elsewhere/"):
            self.send_response(302)
            self.send_header("Location", f"file://{self.directory}/{self.path.removeprefix('/elsewhere/')}")
            self.end_headers()
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("ETag", self._etag())
        super().end_headers()

    def _etag(self) -> str:
        return WEAK_ETAG if self.path.endswith("/1.wav") else f'"{self.path}"'


@pytest.fixture
def web(recordings: Path) -> Iterator[str]:
    """The recordings on a web server."""
    with answering(functools.partial(Web, directory=str(recordings))) as url:
        yield url


def test_a_list_on_a_web_server_names_the_recordings(source: Source, web: str, write_tone) -> None:
    (source.folder / "list.txt").write_text("spk0/0.wav\n\nspk0/1.wav\n")
    before = source.listing(f"{web}/list.txt")
    assert before.columns["path"] == ["spk0/0.wav", "spk0/1.wav"]
    write_tone(source.folder / "spk0" / "0.wav", seconds=0.7, seed=99)
    after = source.listing(f"{web}/list.txt")
    assert source.fetched == ["list.txt", "spk0/0.wav"] and after.columns["size"] != before.columns["size"]


def test_a_list_may_say_by_what_changes_are_known(source: Source, web: str) -> None:
    size = (source.folder / "spk0" / "0.wav").stat().st_size
    for mark, fetched in (("one", 2), ("one", 1), ("two", 2)):
        lines = [{"path": "spk0/0.wav", "size": size, "etag": mark, "note": "of others"}]
        (source.folder / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert source.listing(f"{web}/list.jsonl").columns["path"] == ["spk0/0.wav"]
        assert len(source.fetched) == fetched


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("list.txt", b"spk0/0.wav\nspk0/no.wav", "names spk0/no.wav, which there is not"),
        ("list.txt", b"\xff\xfe", "is no list of files"),
        ("list.txt", b"../outside.wav", "has no files"),
        ("list.jsonl", b"spk0/0.wav", "is no list of files"),
        ("list.jsonl", b'{"name": "spk0/0.wav"}', "is no list of files"),
        ("list.jsonl", b'{"path": "spk0/0.wav", "size": -1, "etag": "x"}', "is no list of files"),
        ("list.jsonl", b'{"path": "spk0/0.wav", "size": 1' + b"0" * 400 + b', "etag": "x"}', "is no list of files"),
        ("list.jsonl", b"[" * 100_000, "is no list of files"),
        ("no.txt", None, "has no no.txt"),
    ],
)
def test_a_list_that_is_none_is_named(source: Source, web: str, name: str, text: bytes | None, says: str) -> None:
    if text is not None:
        (source.folder / name).write_bytes(text)
    assert says in source.listing(f"{web}/{name}").missing["words"]


def test_a_web_server_leads_to_no_files_of_this_machine(source: Source, web: str) -> None:
    (source.folder / "list.txt").write_text("spk0/0.wav")
    assert "could not read list.txt" in source.listing(f"{web}/elsewhere/list.txt").missing["words"]
    (source.folder / "list.txt").write_text("elsewhere/spk0/0.wav")
    assert "could not look at elsewhere/" in source.listing(f"{web}/list.txt").missing["words"]


def test_a_web_server_that_is_elsewhere_is_not_read_unencrypted(source: Source) -> None:
    assert source.project("https://example.org/a/list.txt").config.data.sources[0].url.startswith("https:")
    for url in ("http://example.org/a/list.txt", "https://example.org/a/", "https://example.org/list.html"):
        with pytest.raises(ConfigError, match="or be a list of files"):
            source.project(url)
