"""`wakeword ui`: where it may listen."""

from pathlib import Path

import pytest

from wakeword_core.errors import ConfigError
from wakeword_pipeline.cli.commands.ui import Address, Service, open_ui
from wakeword_pipeline.orchestration.home import ProjectOptions


@pytest.mark.parametrize(
    ("token", "host", "reason"),
    [("", "0.0.0.0", "reads and writes what you can.*--without-token"), (" ", "127.0.0.1", "holds blanks only")],
)
def test_others_reach_the_pages_with_a_token_or_a_word_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, host: str, reason: str
) -> None:
    for name in ("DAGSTER_HOME", "WAKEWORD_DAGSTER", "WAKEWORD_HOME", "WAKEWORD_CONFIG", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "")  # so that it is put back
    monkeypatch.setenv("WAKEWORD_TOKEN", token)
    monkeypatch.chdir(tmp_path)  # so that it is put back
    with pytest.raises(ConfigError, match=reason):
        open_ui(ProjectOptions(None, tmp_path), Address(host, 0), Service.WEB)
