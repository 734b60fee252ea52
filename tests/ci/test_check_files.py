import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "check_files.py"


def check(*files, cwd=None):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, files)], capture_output=True, text=True, timeout=60, cwd=cwd, check=False
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-----BEGIN RSA " + "PRIVATE KEY-----\nabc", "private key"),
        ("key = AK" + "IA" + "ABCDEFGHIJKLMNOP", "AWS access key"),
        ("token: gh" + "p_" + "a1" * 18, "GitHub token"),
        ("h" + "f_" + "Ab3" * 12, "Hugging Face token"),
        ("xox" + "b-123456789012-abcdef", "Slack token"),
        ("url: https://me:" + "hunter22@example.org/x", "password in a URL"),
        ("text before it\n<<<<<<" + "< HEAD\nb", "merge conflict marker"),
    ],
)
def test_secret_is_refused_and_not_repeated(tmp_path, text, reason):
    file = tmp_path / "settings.txt"
    file.write_text("first line\n" + text)
    result = check(file)
    assert result.returncode == 1
    assert reason in result.stderr
    assert f"{file}:" in result.stderr
    assert text.split("\n")[0] not in result.stderr


def test_large_file_is_refused_and_one_at_the_limit_is_not(tmp_path):
    large, fine = tmp_path / "large.bin", tmp_path / "fine.bin"
    large.write_bytes(bytes(1_000_001))
    fine.write_bytes(bytes(1_000_000))
    result = check(large, fine)
    assert result.returncode == 1
    assert "large.bin" in result.stderr
    assert "fine.bin" not in result.stderr


def test_ordinary_text_passes(tmp_path):
    file = tmp_path / "notes.md"
    file.write_text("# Title\n=======\nhttp://localhost:3000/runs and ${AUDIO_ROOT}, task-list, a <<b>> c\n")
    assert check(file).returncode == 0


def test_without_a_checkout_nothing_is_checked(tmp_path):
    assert check(cwd=tmp_path).returncode == 0


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_every_tracked_file_passes():
    result = check(cwd=ROOT)
    assert result.returncode == 0, result.stderr
