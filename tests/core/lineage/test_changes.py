"""What differs, in words and counts."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.lineage.changes import recording_changes, setting_causes


def sentences(old: dict, new: dict) -> list[str]:
    return [cause.sentence for cause in setting_causes(old, new)]


def test_settings_are_named_in_depth_with_both_values() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": "x"}, {"a": {"b": 1, "c": 5}, "d": "y"}
    assert sentences(old, new) == ["a.c 2 → 5", "d 'x' → 'y'"]
    assert setting_causes(old, old) == []


def test_what_one_side_does_not_have_comes_last() -> None:
    assert sentences({"on": True, "first": 1}, {"on": False}) == ["on true → false", "first 1 → nothing"]


def test_sources_are_told_apart_by_name_not_by_place() -> None:
    old = {"sources": [{"name": "a", "licence": ""}, {"name": "b", "licence": "MIT"}]}
    new = {"sources": [{"name": "b", "licence": "MIT"}, {"name": "a", "licence": "CC0-1.0"}]}
    assert sentences(old, new) == ["sources.a.licence '' → 'CC0-1.0'"]


def test_long_values_are_cut() -> None:
    (sentence,) = sentences({"a": "x" * 500}, {"a": "y"})
    assert len(sentence) < 60 and "…" in sentence


def listing(rows: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"source": "s", "path": list(rows), "recording_id": list(rows.values())}, dtype="str")


def test_each_recording_counts_once() -> None:
    old = listing({"a": "1", "b": "2", "c": "3", "d": "4"})
    new = listing({"a": "1", "b": "9", "moved": "3", "new": "5"})
    found = recording_changes(old, new)
    assert (found.added, found.changed, found.removed, found.renamed) == (1, 1, 1, 1)
    assert str(found) == "recordings: 1 added, 1 changed, 1 removed, 1 renamed"


def test_another_description_of_the_same_bytes_is_a_change() -> None:
    old = listing({"a": "1", "b": "2"}).assign(label=["robin", "robin"])
    new = old.assign(label=["robin", "_negative"])
    assert recording_changes(old, new, ("label",)).changed == 1 and not recording_changes(old, new).any


listings = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("123456"), max_size=8)


@settings(deadline=None, max_examples=25)
@given(listings, listings)
def test_the_counts_add_up(before: dict[str, str], after: dict[str, str]) -> None:
    found = recording_changes(listing(before), listing(after))
    assert len(before) - found.removed + found.added == len(after)
    assert found.changed == sum(before[path] != after[path] for path in before.keys() & after.keys())
    assert found.any == (before != after)
