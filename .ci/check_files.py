"""Refuse what must not be committed: large files, secrets, conflict markers; in the named files or all tracked."""

import re
import subprocess
import sys
from pathlib import Path

MAX_BYTES = 1_000_000
FORBIDDEN = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,})"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a Slack token": re.compile(rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "a Google API key": re.compile(rb"\bAIza[\w-]{35}"),
    "an API key": re.compile(rb"\bsk-[A-Za-z0-9_-]{32,}"),
    "a password in a URL": re.compile(rb"\b[a-z][a-z0-9+]*://[^\s/:@'\"{}$<>]+:[^\s/:@'\"{}$<>]{3,}@"),
    "a merge conflict marker": re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def problems(path: Path) -> list[str]:
    """What is wrong with one file, as sentences that name the line but never repeat the secret."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        return [f"{path} has {size / 1e6:.1f} MB; files over {MAX_BYTES / 1e6:.0f} MB do not belong in the repository"]
    content = path.read_bytes()
    found = []
    for what, pattern in FORBIDDEN.items():
        if match := pattern.search(content):
            line = content.count(b"\n", 0, match.start()) + 1
            found.append(f"{path}:{line} looks like {what}")
    return found


def tracked() -> list[str]:
    """Every file git knows here; none outside a checkout, such as in a source archive."""
    if not Path(".git").exists():
        return []
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True).stdout  # noqa: S607
    return [name for name in listing.decode().split("\0") if name]


def main(names: list[str]) -> int:
    """Check the files and print every problem; 1 if there is one."""
    paths = [Path(name) for name in names or tracked()]
    found = [problem for path in paths if path.is_file() and not path.is_symlink() for problem in problems(path)]
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
