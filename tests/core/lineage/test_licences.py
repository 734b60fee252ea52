"""What licences' names tell."""

import pytest

from wakeword_core.lineage.recordings import NOT_STATED, commercial_use, mix_of, wants_credit


@pytest.mark.parametrize(
    ("licence", "permission"),
    [
        ("CC0-1.0", "allowed"),
        ("CC-BY-4.0", "allowed"),
        ("CC BY 4.0", "allowed"),
        ("Apache-2.0", "allowed"),
        ("LicenseRef-public-domain", "allowed"),
        ("synthetic (espeak-ng)", "allowed"),
        ("CC-BY-NC-4.0", "not allowed"),
        ("CC BY-NC-SA 3.0", "not allowed"),
        ("non-commercial research", "not allowed"),
        ("", "unclear"),
        (NOT_STATED, "unclear"),
        ("ask Bob", "unclear"),
        ("committee", "unclear"),
    ],
)
def test_commercial_use(licence: str, permission: str) -> None:
    assert commercial_use(licence) == permission


def test_a_mix_allows_what_its_least_licence_allows() -> None:
    assert mix_of({"CC0-1.0", "MIT"}) == "allowed" and mix_of({"CC0-1.0", "mine"}) == "unclear"
    assert mix_of({"CC-BY-NC-4.0", "mine"}) == "not allowed" and mix_of(set()) == "unclear"


def test_credit() -> None:
    assert wants_credit("CC-BY-4.0") and not wants_credit("CC0-1.0")
