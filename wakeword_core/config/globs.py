"""Glob patterns on relative paths: * and ? stay within a folder, ** crosses folders."""

import re
from functools import lru_cache

_LONGEST = 1_000
_FOLDERS, _ANY, _NAME = "**/", "**", "*"
_STARS = {_FOLDERS: "(?:[^/]+/)*", _ANY: "(?s:.)*", _NAME: "[^/]*"}
_YIELDS_TO = {_FOLDERS: (_FOLDERS, _ANY), _ANY: (_ANY,), _NAME: (_NAME, _ANY)}
"""The stars after which it does not matter how much a star before them took."""


@lru_cache(maxsize=256)
def glob_regex(pattern: str) -> str:
    """Return a glob as a regular expression on a whole path, which takes no long time; ValueError where it is none."""
    if len(pattern) > _LONGEST:
        raise ValueError(f"must be a pattern of at most {_LONGEST:,} characters")
    pieces = re.findall(r"(?:\*\*/)+|\*{2,}|\*|\?|\[[^\]]+\]|.", pattern.removeprefix("./"), flags=re.DOTALL)
    regex = _regex(
        [_FOLDERS if piece.startswith("**/") else piece[:2] if piece[0] == "*" else piece for piece in pieces]
    )
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"must be a glob pattern, but {pattern} is none: {error}") from None
    return regex


def _regex(pieces: list[str]) -> str:
    """Write pieces as a regular expression in which a star that yields to a later one is never tried at other lengths.

    The least that it can take is right, since the later one takes the rest. Else many stars would try all lengths of
    all of them.
    """
    regex, place = "", 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if piece not in _STARS:
            regex += "[^/]" if piece == "?" else _set(piece)
        elif later := _later_star(pieces, piece, place):
            regex += f"(?>{_STARS[piece]}?{_regex(pieces[place:later])})"
            place = later
        else:
            regex += _STARS[piece]
    return regex


def _later_star(pieces: list[str], star: str, start: int) -> int:
    """Return the place of the star that a star yields to, from `start` on; 0 where there is none."""
    for place in range(start, len(pieces)):
        # folders after a letter, as in **/b**/, cannot begin where a name does, and so not take all that was left
        if pieces[place] in _YIELDS_TO[star] and (pieces[place] != _FOLDERS or pieces[place - 1] in ("/", *_STARS)):
            return place
        if star == _NAME and pieces[place] in ("/", _FOLDERS):
            return 0
    return 0


def _set(piece: str) -> str:
    if len(piece) < 3 or not piece.startswith("["):
        return re.escape(piece)
    negated = "^" if piece[1] == "!" else ""
    members = re.sub(r"[\]\[^&~|\\]", r"\\\g<0>", piece[1 + len(negated) : -1])
    return f"[{negated}{members}]"
