"""Text that others chose, such as file names, labels and licences, made safe to show."""

import re
import unicodedata

_MARKS = re.compile(r"[\\`*_\[\]!|~#]|:(?=//)|(?<=www)\.")
"""What Markdown reads as marks inside a line, and what it makes links of."""


def printable(text: object) -> str:
    r"""Return text as one line that changes nothing but itself on a terminal: what is not visible is \x.. or \u....

    Control characters, line ends, marks of direction, characters without width and halves of surrogates are escaped;
    letters, emoji and spaces of any script stay.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(character if _is_visible(character) else _escaped(character) for character in shown)


def markdown(text: object) -> str:
    """Return text as one line that Markdown shows as it is, in a table too, without marks, HTML, pictures or links."""
    import html

    line = html.escape(printable(" ".join(str(text).split())), quote=False)
    return _MARKS.sub(r"\\\g<0>", line)


def _is_visible(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
