"""Text of others on a terminal and in Markdown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword_core.text import markdown, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hey robin", "hey robin"),
        ("\x1b]0;mine\x07", r"\x1b]0;mine\x07"),
        ("a\r\nb\tc\x9b", r"a\r\nb\tc\x9b"),
        ("\u202edraw\u200b\u2028\ud800", r"\u202edraw\u200b\u2028\ud800"),
        ("你好 👍 привет\u3000café\xa0!", "你好 👍 привет\u3000café\xa0!"),
    ],
)
def test_what_is_not_visible_is_escaped_and_all_else_stays(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_whatever_the_text_is_one_visible_line_comes_of_it(text: str) -> None:
    for line in (printable(text), markdown(text)):
        assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in line)
    assert printable(printable(text)) == printable(text)


def test_markdown_shows_marks_instead_of_obeying_them() -> None:
    assert markdown("a|b <c> ![d](http://e) `f` *g* _h_\n# i") == (
        r"a\|b &lt;c&gt; \!\[d\](http\://e) \`f\` \*g\* \_h\_ \# i"
    )
