"""Fetching files of a package from a registry that is played here."""

import base64
import hashlib
import io
import json
import tarfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from in_thread import answering

from wakeword_core import npm as npm_module
from wakeword_core.errors import ConfigError
from wakeword_core.npm import DEFAULT_REGISTRY, NpmError, NpmPackage, main, registry

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers."""
SECRET = "s3cret"
MODULE, BINARY = b"export {};", bytes(range(256)) * 64
FILES = {"module.mjs": MODULE, "binary.wasm": BINARY}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def package(**extra: bytes) -> bytes:
    """A package as npm has them, with more in it than is wanted."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        names = {"package/package.json": b"{}", "../outside.txt": b"no", "/tmp/module.mjs": b"no"}
        for name, content in {**names, **{f"package/dist/{name}": one for name, one in FILES.items()}, **extra}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/dist/binary.wasm.link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return packed.getvalue()


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


PACKED = package()
WANTED = NpmPackage("some-files", "1.2.3", integrity(PACKED), "dist", DIGESTS)


@pytest.fixture
def npm(monkeypatch):
    """A registry: what it gives, and what was asked of it."""

    class Registry(BaseHTTPRequestHandler):
        content, asked = PACKED, []

        def do_GET(self) -> None:
            self.asked.append(self.path)
            if self.content is None:
                return  # without a word
            self.send_response(200 if self.content else 404)
            self.end_headers()
            self.wfile.write(self.content)

        def log_message(self, *_) -> None:
            pass

    with answering(Registry) as url:
        monkeypatch.setenv("npm_config_registry", f"{url}/npm/")
        yield Registry


def test_the_pinned_files_and_nothing_else_are_kept_and_fetched_once(npm, tmp_path) -> None:
    cache = tmp_path / "deep" / "cache"
    folder = WANTED.fetch(cache)
    assert folder == WANTED.kept_in(cache) and folder.name == "some-files-1.2.3"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert list(tmp_path.rglob("*")) == [cache.parent, cache, folder, *folder.iterdir()]
    assert npm.asked == ["/npm/some-files/-/some-files-1.2.3.tgz"]
    assert WANTED.fetch(cache) == folder and len(npm.asked) == 1


def test_files_may_lie_in_the_folder_of_the_package_itself(npm, tmp_path) -> None:
    npm.content = package(**{"package/module.mjs": MODULE})
    wanted = NpmPackage("some-files", "1.2.3", integrity(npm.content), "", {"module.mjs": DIGESTS["module.mjs"]})
    assert [path.read_bytes() for path in wanted.fetch(tmp_path).iterdir()] == [MODULE]


def test_damaged_files_are_fetched_again(npm, tmp_path) -> None:
    folder = WANTED.fetch(tmp_path)
    (folder / "binary.wasm").write_bytes(BINARY[:-1])
    assert not WANTED.is_whole(folder) and WANTED.is_whole(WANTED.fetch(tmp_path)) and len(npm.asked) == 2
    (folder / "module.mjs").unlink()
    assert WANTED.is_whole(WANTED.fetch(tmp_path))


@pytest.mark.parametrize(
    "put",
    [
        lambda place: place.write_text("in the way"),
        lambda place: place.symlink_to(place.parent / "nowhere"),
        lambda place: place.symlink_to(place.parent),
    ],
    ids=["file", "dangling", "link"],
)
def test_what_is_in_the_folders_place_makes_room(npm, tmp_path, put) -> None:
    put(WANTED.kept_in(tmp_path))
    (tmp_path / "beside").write_text("kept")
    assert WANTED.is_whole(WANTED.fetch(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside", "some-files-1.2.3"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda npm, patch: setattr(npm, "content", package(**{"package/evil.js": b"evil"})), "another file than was"),
        (lambda npm, patch: setattr(npm, "content", npm.content[:-9]), "another file than was"),
        (lambda npm, patch: setattr(npm, "content", b""), "Not Found"),
        (lambda npm, patch: setattr(npm, "content", None), "could not be fetched from .*without response"),
        (lambda npm, patch: patch.setattr(npm_module, "_MAX_PACKAGE_BYTES", 100), "gives more than"),
        (lambda npm, patch: patch.setattr(npm_module, "_MAX_FILE_BYTES", 100), "does not hold the files"),
        (lambda npm, patch: patch.setattr(npm_module, "_DOWNLOAD_SECONDS", -1), "did not give the whole file"),
        (
            lambda npm, patch: patch.setenv("npm_config_registry", NOWHERE),
            "could not be fetched from http://127.0.0.1:9/",
        ),
    ],
    ids=["integrity", "cut", "missing", "disconnected", "package-size", "file-size", "slow", "offline"],
)
def test_what_is_not_as_pinned_is_not_used_and_leaves_nothing(npm, tmp_path, monkeypatch, change, reason) -> None:
    change(npm, monkeypatch)
    with pytest.raises(NpmError, match=reason):
        WANTED.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_reason(npm, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NpmError, match="could not be kept in"):
        WANTED.fetch(tmp_path / "file")


def test_who_comes_second_takes_what_the_first_put_there(npm, tmp_path, monkeypatch) -> None:
    replace = Path.replace

    def late(made, folder) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        WANTED.fetch(tmp_path)
        return replace(made, folder)

    monkeypatch.setattr(Path, "replace", late)
    assert WANTED.is_whole(WANTED.fetch(tmp_path)) and len(list(tmp_path.iterdir())) == 1


def test_the_registry_is_npms(monkeypatch, tmp_path) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho https://npm.example.org/all/\n")
    npm.chmod(0o755)
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert registry() == "https://npm.example.org/all"
    npm.write_text("#!/bin/sh\nexit 1\n")
    assert registry() == DEFAULT_REGISTRY
    npm.unlink()
    assert registry() == DEFAULT_REGISTRY
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://other.example.org")
    assert registry() == "https://other.example.org"
    for wrong in ("file:///etc", "https://", "npm", f"https://user:{SECRET}@example.org/"):
        monkeypatch.setenv("npm_config_registry", wrong)
        with pytest.raises(ConfigError, match="has to be an address") as caught:
            registry()
        assert SECRET not in str(caught.value)


def test_as_a_command(npm, tmp_path, monkeypatch, capsys) -> None:
    assert main(WANTED, [str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(WANTED.kept_in(tmp_path))
    monkeypatch.setenv("npm_config_registry", NOWHERE)
    assert main(WANTED, [str(tmp_path / "other")]) == 1 and "could not be fetched" in capsys.readouterr().err
    assert main(WANTED, []) == 2
