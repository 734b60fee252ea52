"""Where the remote is: what may name it, and that no password is ever shown."""

from pathlib import Path

import pytest

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config
from wakeword_core.config.remote import RemoteConfig
from wakeword_core.errors import ConfigError

HUSH = "hush"


@pytest.mark.parametrize(
    "url",
    ["", "s3://bucket", "s3://bucket/a team/words", "gs://bucket/x", "az://account/container", "file:///srv/shared"],
)
def test_a_store_has_a_url(url: str) -> None:
    assert load_config(None, [f"remote.url='{url}'"]).remote.location() == url


@pytest.mark.parametrize(
    "setting",
    [
        f"remote.url=s3://key:{HUSH}@bucket/x",
        "remote.url=s3://bucket/x?secret=hush",
        "remote.url='s3://bucket/x#hush'",
        f"remote.url=key:{HUSH}@s3://bucket",
        "remote.url=hush://bucket/x",
        "remote.url=s3:hush",
        "remote.url=file://hush/x",
        "remote.url=file:hush",
        "remote.url=/hush",
        "remote.url=s3://bucket/hush/../x",
        "remote.url=file:///hush/%2e%2e/x",
        "remote.url=http://[hush",
        f"remote.url=s3://bucket/{'hush' * 300}",
        'remote.url="s3://bucket/hush\\x07"',
        f"remote=s3://key:{HUSH}@bucket/x",
    ],
)
def test_anything_else_is_refused_and_not_repeated(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"remote(\.url)?: it ") as raised:
        load_config(None, [setting])
    assert "hush" not in str(raised.value)


def test_the_environment_names_it_where_the_configuration_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEWORD_REMOTE", "s3://of-the-team/x/")
    assert Config().remote.location() == "s3://of-the-team/x"
    assert RemoteConfig(url="gs://mine").location() == "gs://mine"
    monkeypatch.setenv("WAKEWORD_REMOTE", f"s3://key:{HUSH}@bucket")
    with pytest.raises(ConfigError, match=r"^WAKEWORD_REMOTE: it may name a place only") as raised:
        Config().remote.location()
    assert "hush" not in str(raised.value)


def test_a_server_s_owner_decides_where_a_configuration_may_send_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEWORD_DATA_ROOTS", str(tmp_path / "allowed"))
    inside = RemoteConfig(url=(tmp_path / "allowed" / "shared").as_uri())
    assert inside.location() == inside.url
    for url in ((tmp_path / "elsewhere").as_uri(), "s3://anybody/x"):
        with pytest.raises(ConfigError, match="WAKEWORD_DATA_ROOTS"):
            RemoteConfig(url=url).location()
    monkeypatch.setenv("WAKEWORD_REMOTE", "s3://of-the-owner/x")
    assert RemoteConfig(url="s3://of-the-owner/x").location() == "s3://of-the-owner/x"
    assert RemoteConfig(url="s3://of-the-owner/x/mine").location() and inside.location()
    for url in ("s3://of-the-owner/xy", "s3://anybody/x"):
        with pytest.raises(ConfigError, match="only WAKEWORD_REMOTE may name a store elsewhere"):
            RemoteConfig(url=url).location()
