"""What stands in the documents: blocks of code, and the lines that people are to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BEHIND_MAKE = {"run": "demo", "ui": "ui"}
"""Target of the Makefile -> command of which its ARGS are options."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def all_blocks(document: Path) -> list[tuple[str, str]]:
    """Language and text of each block of code, in their order."""
    return _BLOCK.findall(document.read_text("utf-8"))


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """Blocks of code of a document in some languages."""
    return (text for language, text in all_blocks(document) if language in languages)


def lines_of(block: str) -> Iterator[list[str]]:
    """The words of each line that a block tells people to type."""
    return (words for line in block.splitlines() if (words := shlex.split(line, comments=True)))


def typed(document: Path) -> Iterator[list[str]]:
    """The words of each line that a document tells people to type."""
    return (words for block in blocks(document, "sh", "") for words in lines_of(block))


def named_in(document: Path) -> Iterator[str]:
    """What stands between backticks in a document, and each line of its blocks for a shell."""
    text = document.read_text("utf-8")
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", _BLOCK.sub("", text))
    for block in blocks(document, "", "sh", "bash"):
        yield from block.splitlines()
