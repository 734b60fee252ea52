"""Glob patterns: what they match, and that none takes long."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config.globs import glob_regex


def matches(pattern: str, path: str) -> bool:
    return re.fullmatch(glob_regex(pattern), path) is not None


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**/*", "a.wav", True),
        ("**/*", "a/b/c.wav", True),
        ("*", "a/b", False),
        ("a/**/b", "a/b", True),
        ("a/**/**/b", "a/x/y/b", True),
        ("**.wav", "a/b.wav", True),
        ("./a?[!b-d].wav", "axe.wav", True),
        ("a?[!b-d].wav", "axc.wav", False),
        ("[[]a", "[a", True),
        ("[^a]", "^", True),
        ("[^a]", "b", False),
        (r"[\d]", "5", False),
        ("[a-", "[a-", True),
        ("a.b", "axb", False),
        ("**/b**/", "b/b", True),
    ],
)
def test_what_matches(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def trying_everything(pattern: str, path: str) -> bool:
    stars = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*"}
    pieces = re.findall(r"\*\*/|\*\*|\*|.", pattern)
    return re.fullmatch("".join(stars.get(piece) or re.escape(piece) for piece in pieces), path) is not None


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["**/", "**", "*", "a", "b", "/"]), max_size=7), st.text("ab/", max_size=9))
def test_it_is_the_same_as_trying_every_length_of_every_star(pieces: list[str], path: str) -> None:
    pattern = re.sub(r"\*{3,}", "**", "".join(pieces))
    assert matches(pattern, path) is trying_everything(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["**/" * 300 + "x", "*a" * 300 + "b", "**a" * 300 + "b", "**/*a*" * 100 + "b", "*?" * 300 + "b"]
)
def test_many_stars_take_no_time(pattern: str) -> None:
    started = time.monotonic()
    assert not matches(pattern, "a" * 250 + "/" + "a/" * 200 + "a" * 250 + "c")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("pattern", ["[z-a]", "[!z-a]", "**/" * 20_000])
def test_what_is_no_pattern_is_said(pattern: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        glob_regex(pattern)
