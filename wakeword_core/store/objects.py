"""Objects in a store elsewhere: a bucket of S3, Google or Azure, or a shared folder. Only this file knows obstore.

Keys and passwords are read from the environment by obstore. What it says of a failure is shown without addresses,
since those may be signed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from wakeword_core.errors import MissingDependencyError, RemoteError
from wakeword_core.files import inside
from wakeword_core.python import install_command

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

_CONNECT_SECONDS, _SILENT_SECONDS = 5, 30
"""How long to wait for a connection, and for the next byte."""
_LONGEST = "24h"
"""Of one request: a large file over a slow line takes its time."""
_RETRIES = 2
_CHUNK_BYTES = 2**20
_PARTS_AT_ONCE = 4
"""Parts of 5 MB of one large file that are on their way at the same time."""
_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "az": ("AZURE_STORAGE_ENDPOINT",)}
"""Environment variables that name another server of a kind of store."""
_REFUSED, _NO_BUCKET, _BAD_NAME = {"401", "403"}, "404", "invalid path"
_STATUS = re.compile(r"status code: (\d{3})[ \w]*")
_ADDRESS = re.compile(r"\S*://\S+")
_LONGEST_REASON = 200
WEAK = "W/"
"""How an etag begins that tells whether bytes changed, but by which no server gives them out."""


@dataclass(frozen=True)
class Entry:
    """An object as a listing shows it."""

    name: str
    """Below the store's URL."""
    size: int
    modified: datetime
    etag: str | None
    """What changes whenever its bytes do, where the store has that."""


class Objects:
    """The objects below a URL: s3://, gs://, az:// or file://; of https:// the files, which cannot be listed.

    Every method raises RemoteError when the store fails.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self._folder = Path(unquote(self._parts.path)) if self._parts.scheme == "file" else None
        self._store = self._open()

    def read(self, name: str, most: int) -> bytes | None:
        """Return the bytes of an object, or None where there is none; RemoteError when there are more than `most`."""
        content = bytearray()
        try:
            for chunk in self.stream(name):
                content += chunk
                if len(content) > most:
                    raise RemoteError(f"{self.url}/{name} has more than the {most:,} bytes that are allowed")
        except FileNotFoundError:
            return None
        return bytes(content)

    def stream(self, name: str, start: int = 0, etag: str | None = None) -> Iterator[bytes]:
        """Yield the bytes of an object from byte `start` on; FileNotFoundError where there is none.

        With an `etag`, RemoteError where it is another one by now; servers compare no weak one (W/).
        """
        import obstore

        self._require_no_link(name)
        with self._failing(f"read {name}"):
            options: Any = {"range": {"offset": start}} if start else {}
            if etag and not etag.startswith(WEAK):
                options["if_match"] = etag
            yield from map(bytes, obstore.get(self._store, name, options=options).stream(min_chunk_size=_CHUNK_BYTES))

    def look(self, name: str) -> Entry | None:
        """Return what a listing would show of one object, or None where there is none."""
        import obstore

        try:
            with self._failing(f"look at {name}"):
                return _entry(obstore.head(self._store, name))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes | Path, *, new: bool = False) -> bool:
        """Write an object, from memory or from a file, so that it appears whole.

        With `new` it is not written where there is one, as by another writer just now; return whether it was written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        self._require_no_link(name)
        try:
            with self._failing(f"write {name}"):
                obstore.put(
                    self._store, name, content, mode="create" if new else "overwrite", max_concurrency=_PARTS_AT_ONCE
                )
        except AlreadyExistsError:
            return False
        except FileNotFoundError:
            raise RemoteError(f"there is no bucket for {self.url}; make it, or correct the URL") from None
        return True

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Yield every object in a folder and below, or every one."""
        import obstore

        with self._failing(f"list {folder or 'its objects'}"):
            for batch in obstore.list(self._store, folder or None):
                yield from map(_entry, batch)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; what is not there is no error."""
        import obstore

        for name in names:
            self._require_no_link(name)
        try:
            with self._failing("delete what nothing needs"):
                obstore.delete(self._store, names)
        except FileNotFoundError:  # of a shared folder, which stops at the first that is gone
            for name in names if len(names) > 1 else ():
                self.delete([name])

    def _open(self) -> "ObjectStore":
        try:
            from obstore.store import HTTPStore, LocalStore, from_url
        except ModuleNotFoundError as error:
            raise MissingDependencyError(f"a store elsewhere needs obstore: {install_command('remote')}") from error
        if self._folder:
            if not self._folder.is_dir():
                raise RemoteError(f"there is no folder {self._folder}, which {self.url} names; make it, or mount it")
            return LocalStore(self._folder)
        scheme, url = self._parts.scheme, self.url
        if scheme == "az":  # whose host obstore would take for the container
            url = f"https://{self._parts.netloc}.blob.core.windows.net{self._parts.path}"
        # the server of a list is a web server, also where its name is that of a bucket
        open_store = HTTPStore.from_url if scheme.startswith("http") else from_url
        endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS.get(scheme, ()))), url)
        with self._failing("be opened"):
            return open_store(
                url,
                client_options={
                    "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                    "read_timeout": timedelta(seconds=_SILENT_SECONDS),
                    "timeout": _LONGEST,
                    "allow_http": endpoint.startswith("http://"),
                },
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(minutes=1)},
            )

    def _require_no_link(self, name: str) -> None:
        """Refuse an object of a shared folder that a link leads to: it may be any file of who reads it."""
        if self._folder and not inside(self._folder / name, [os.path.realpath(self._folder)]):
            raise RemoteError(f"{self._folder / name} is a link that leads out of the remote; remove it")

    @contextmanager
    def _failing(self, doing: str) -> Iterator[None]:
        """Turn what obstore raises into a sentence; that an object is missing, or there already, is for the caller."""
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        try:
            yield
        except (FileNotFoundError, AlreadyExistsError):
            raise
        except (BaseError, OSError, ValueError) as error:
            first_line = _ADDRESS.sub("…", str(error)).partition("\n")[0]
            status = _STATUS.search(first_line)
            if isinstance(error, PermissionDeniedError | UnauthenticatedError) or (status and status[1] in _REFUSED):
                problem = f"refused to {doing}: the keys in the environment are wrong, or do not allow it"
            elif isinstance(error, PreconditionError):
                problem = f"could not {doing}: it is being changed; run again when it is at rest"
            elif status and status[1] == _NO_BUCKET:
                problem = f"could not {doing}: there is no such bucket; make it, or correct the URL"
            elif _BAD_NAME in first_line:
                name = first_line.partition('"')[2].partition('"')[0][:_LONGEST_REASON]
                problem = f"could not {doing}: no path may have a name such as {name!r}; rename it, or remove it"
            else:
                reason = (status[0] if status else first_line.rpartition(" - ")[2])[:_LONGEST_REASON]
                problem = f"could not {doing} ({reason}); try again when it can be reached"
            raise RemoteError(f"{self.url} {problem}") from None


def _entry(found: "ObjectMeta") -> Entry:
    return Entry(found["path"], found["size"], found["last_modified"], found["e_tag"])
