"""Settings of the remote: a store elsewhere that machines share finished artifacts through. None changes a result."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from wakeword_core.config.base import Settings
from wakeword_core.config.data_roots import DATA_ROOTS, check_in_data_roots
from wakeword_core.errors import ConfigError

REMOTE_VARIABLE = "WAKEWORD_REMOTE"
"""Environment variable with the URL of the remote where the configuration names none."""
_BUCKETS = ("s3", "gs", "az")
_LONGEST = 1_000
_ALLOWED = "it must begin with s3://bucket, gs://bucket, az://account/container or file:///folder"


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
        if url and not of_owner and url.startswith("file:"):
            check_in_data_roots(Path(unquote(urlsplit(url).path)), "remote.url:")
        elif os.environ.get(DATA_ROOTS) and url != of_owner:
            raise ConfigError(
                f"remote.url is {url}, but where {DATA_ROOTS} is set, only {REMOTE_VARIABLE} may name a store elsewhere"
            )
        return url.rstrip("/")


def url_problem(url: str) -> str:
    """Say what is wrong with the URL of a remote, without repeating it: it may hold a password. Empty: nothing is."""
    try:
        parts = urlsplit(url)
        secret = "@" in url or parts.query or parts.fragment
    except ValueError:
        return _ALLOWED
    if secret:
        return "it may name a place only; keys and passwords belong in the environment"
    is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    is_bucket = parts.scheme in _BUCKETS and parts.netloc
    return "" if not url or ((is_folder or is_bucket) and url.isprintable() and len(url) <= _LONGEST) else _ALLOWED
