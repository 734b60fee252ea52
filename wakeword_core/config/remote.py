"""Stores elsewhere: the remote that machines share finished artifacts through, and sources of recordings by URL."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import Settings
from wakeword_core.config.data_roots import DATA_ROOTS, check_in_data_roots
from wakeword_core.errors import ConfigError
from wakeword_core.files import digest

REMOTE_VARIABLE = "WAKEWORD_REMOTE"
"""Environment variable with the URL of the remote where the configuration names none."""
CACHE_VARIABLE = "WAKEWORD_CACHE"
"""Environment variable with the folder of local copies; without it, ~/.cache/wakeword."""
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
"""Endings of a source's path that make it a table of recordings instead of a folder."""
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
DATA_SUFFIXES = (".parquet", ".arrow", *TAR_SUFFIXES)
"""Endings of files that may hold many recordings each."""
HUB = "hf://"
INDEX_SUFFIXES = (".txt", ".jsonl")
"""Endings of a URL that make it a list of files beside it: a name a line, or an object with path, size and etag."""
_DIGITS = 12
_HUB_NAME = re.compile(
    r"hf://(?:datasets/)?(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>refs/[\w.-]+/[\w.-]+|[\w.-]+))?"
    r"(?:/(?P<subset>[\w.-]+))?",
    re.ASCII,
)
_BUCKETS = ("s3", "gs", "az")
_LONGEST = 1_000
_STORES = "it must begin with s3://bucket, gs://bucket, az://account/container or file:///folder"
_LISTS = ", or be a list of files such as https://host/folder/list.txt (or .jsonl), or hf://owner/name"


class RemoteConfig(Settings):
    """Where finished artifacts are shared with other machines."""

    url: str = Field(
        "",
        description="Store that artifacts are shared through: s3://bucket/folder, gs://bucket/folder, "
        "az://account/container/folder or file:///folder; empty: $WAKEWORD_REMOTE, or none.",
    )
    upload: bool = Field(False, description="Upload each artifact that a build makes.")
    keep_days: float = Field(
        30,
        ge=0,
        le=36_500,
        description="Days for which `wakeword gc --remote` keeps what was pushed, even if this home does not need it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_a_group(cls, values: Any) -> Any:
        if not isinstance(values, dict):  # nor is that shown, since it may be a URL with a password
            raise ValueError("it is a group of settings, such as {url: s3://bucket/folder}")
        return values

    @field_validator("url")
    @classmethod
    def _names_a_store(cls, url: str) -> str:
        if problem := url_problem(url):
            raise ValueError(problem)
        return url

    def location(self) -> str:
        """Return the URL of the remote, of the configuration or the environment; empty where there is none.

        ConfigError for a wrong URL, and for one that the server's owner does not allow.
        """
        of_owner = os.environ.get(REMOTE_VARIABLE, "").strip()
        if problem := url_problem(of_owner):
            raise ConfigError(f"{REMOTE_VARIABLE}: {problem}")
        url = self.url or of_owner
        require_allowed(url, "remote.url")
        return url.rstrip("/")


def require_allowed(url: str, setting: str) -> None:
    """Raise ConfigError for a store elsewhere that a server's owner does not allow a configuration to name."""
    of_owner = os.environ.get(REMOTE_VARIABLE, "").strip().rstrip("/")
    if not os.environ.get(DATA_ROOTS) or (of_owner and f"{url}/".startswith(f"{of_owner}/")):
        return
    if url.startswith("file:"):
        check_in_data_roots(Path(unquote(urlsplit(url).path)), f"{setting}:")
    elif url:
        raise ConfigError(
            f"{setting} is {url}, but where {DATA_ROOTS} is set, only {REMOTE_VARIABLE} may name a store elsewhere"
        )


def local_copy(url: str) -> tuple[str, Path]:
    """Return the folder or list that a source's URL names, and the path of the copy here, or of the table in it.

    ValueError, which does not repeat it, for what is no URL of a store.
    """
    if problem := url_problem(url, source=True):
        raise ValueError(problem)
    named, table = url.rstrip("/"), ""
    if url.lower().endswith((*TABLE_SUFFIXES, *DATA_SUFFIXES)) and not url.startswith(HUB):
        named, _, table = url.rpartition("/")
    return named, copy_folder(named) / table


def copy_folder(url: str) -> Path:
    """Return the folder of the copy of a folder or list elsewhere: in it is what that has, and nothing else."""
    return cache_folder() / "sources" / digest(url)[:_DIGITS] / url.rpartition("/")[2]


def cache_folder() -> Path:
    """Return the folder of local copies of sources, and of what is unpacked of them."""
    return Path(os.environ.get(CACHE_VARIABLE) or os.path.expanduser("~/.cache/wakeword")).absolute()


class HubName(NamedTuple):
    """A data set of Hugging Face's hub: owner/name, and the revision and the subset of it, None for the default."""

    name: str
    revision: str | None
    subset: str | None

    @classmethod
    def of(cls, url: str) -> "HubName":
        """Read it off a URL hf://owner/name@revision/subset; ValueError where that is none."""
        if not (match := _HUB_NAME.fullmatch(url)):
            raise ValueError(f"{url} is no data set of the hub")
        return cls(**match.groupdict())


def url_problem(url: str, *, source: bool = False) -> str:
    """Say what is wrong with the URL of a remote or a source, without repeating it: it may hold a password.

    A source may also be a list on a web server, encrypted unless that is this machine. Empty: nothing is wrong.
    """
    allowed = f"{_STORES}{_LISTS if source else ''}"
    try:
        parts = urlsplit(url)
        climbs = {".", ".."} & set(unquote(parts.path).split("/"))
    except ValueError:
        return allowed
    if source and parts.scheme == "hf":
        return "" if _HUB_NAME.fullmatch(url) else "a data set of the hub is hf://owner/name@revision/subset"
    if "@" in url or parts.query or parts.fragment:
        return "it may name a place only; keys and passwords belong in the environment"
    below = parts.path.strip("/")
    is_bucket = parts.scheme in _BUCKETS and bool(parts.netloc) and (parts.scheme != "az" or bool(below))
    is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and bool(below)
    is_safe = parts.scheme == "https" or (parts.scheme, parts.hostname) == ("http", "127.0.0.1")
    is_list = source and bool(parts.hostname) and is_safe and url.endswith(INDEX_SUFFIXES)
    possible = (is_bucket or is_folder or is_list) and not climbs and url.isprintable() and len(url) <= _LONGEST
    return "" if possible or not url else allowed
