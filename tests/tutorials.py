"""What tutorials show: the lines to type, and the configurations to write."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """Blocks of code of a document in some languages."""
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        if language in languages:
            yield text


def typed(document: Path) -> Iterator[list[str]]:
    """The words of each line that a document tells people to type."""
    for block in blocks(document, "sh", ""):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words
