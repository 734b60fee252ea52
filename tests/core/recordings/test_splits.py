import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import DataConfig, SourceConfig
from wakeword_core.recordings.splits import assign_splits, check_splits, speaker_groups, split_of

CONFIG = DataConfig()


def groups(rule, paths, name="mine"):
    source = SourceConfig(name=name, path=".", role="positive", speaker=rule)
    return speaker_groups(source, paths, [f"{index:064d}" for index in range(len(paths))])


@pytest.mark.parametrize(
    ("rule", "paths", "speakers", "known"),
    [
        ("unknown", ["a.wav", "b.wav"], ["mine/" + "0" * 16] * 2, [False, False]),
        ("single", ["a.wav", "x/b.wav"], ["mine/single"] * 2, [True, True]),
        ("parent", ["x/ann/a.wav", "y/ann/b.wav"], ["mine/ann"] * 2, [True, True]),
        ("parent", ["a.wav"], ["mine/" + "0" * 16], [False]),
        ("block:10", ["0009.wav", "0010.wav", "0019.wav"], ["mine/#0", "mine/#1", "mine/#1"], [True] * 3),
        ("block:10", ["x/a7.wav", "y/a8.wav"], ["mine/x/a#0", "mine/y/a#0"], [True] * 2),
        ("block:10", ["take.wav"], ["mine/" + "0" * 16], [False]),
        (r"regex:^(?P<speaker>\d+)-", ["12-1.wav", "x.wav"], ["mine/12", "mine/" + "0" * 16], [True, False]),
        (r"regex:(?P<speaker>z*)", ["a.wav"], ["mine/" + "0" * 16], [False]),
    ],
)
def test_speaker_rules(rule, paths, speakers, known):
    found = groups(rule, paths)
    assert found == (speakers, known)


def test_unknown_speakers_are_groups_of_their_own():
    source = SourceConfig(name="mine", path=".", role="positive")
    assert len(set(speaker_groups(source, ["a", "b"], ["1" * 64, "2" * 64])[0])) == 2


def test_sources_of_one_speaker_space_share_their_speakers():
    family, talk = (
        SourceConfig(name=n, path=".", role="negative", speaker="parent", speaker_space="home") for n in "ab"
    )
    assert speaker_groups(family, ["v1/a.wav"], ["0"])[0] == speaker_groups(talk, ["v1/b.wav"], ["1"])[0] == ["home/v1"]
    assert groups("parent", ["v1/a.wav"], "one") != groups("parent", ["v1/a.wav"], "two")


names = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=30)
held = st.sampled_from([None, None, None, "train", "val", "test"])


@settings(deadline=None, max_examples=40)
@given(names, names, st.integers(0, 99))
def test_adding_recordings_never_moves_an_old_one(old, new, seed):
    def splits(speakers):
        return assign_splits(pd.Series(speakers), pd.Series([None] * len(speakers)), seed, CONFIG).tolist()

    assert splits(old + new)[: len(old)] == splits(old)
    assert splits(new + old)[len(new) :] == splits(old)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), held), min_size=1, max_size=40), st.integers(0, 99))
def test_no_speaker_is_on_two_sides_even_when_sources_are_held_out(rows, seed):
    speakers, fixed = pd.Series([row[0] for row in rows]), pd.Series([row[1] for row in rows], dtype=object)
    split = assign_splits(speakers, fixed, seed, CONFIG)
    frame = pd.DataFrame({"speaker": speakers, "split": split, "id": [str(index) for index in range(len(rows))]})
    assert check_splits(frame) == []
    assert (frame.groupby("speaker")["split"].nunique() == 1).all()
    for speaker, group in frame.groupby("speaker"):
        wanted = [one for one in ("test", "val", "train") if one in set(fixed[speakers == speaker])]
        assert group["split"].iloc[0] == (wanted[0] if wanted else split_of(speaker, seed, CONFIG))


def test_shares_are_about_what_is_asked_and_seeds_differ():
    found = pd.Series([split_of(f"s{index}", 1, CONFIG) for index in range(4_000)])
    shares = found.value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.03) and shares["val"] == pytest.approx(0.15, abs=0.03)
    assert found.tolist() != [split_of(f"s{index}", 2, CONFIG) for index in range(4_000)]
    assert split_of("ann", 1, CONFIG) == split_of("ann", 1, CONFIG)


def test_growing_the_test_share_only_takes_from_the_others():
    more = DataConfig(test_fraction=0.3)
    for index in range(300):
        if split_of(f"s{index}", 1, CONFIG) == "test":
            assert split_of(f"s{index}", 1, more) == "test"


def test_leaks_are_named():
    frame = pd.DataFrame({"id": ["1", "2", "2"], "speaker": ["ann", "ann", "bob"], "split": ["test", "train", "test"]})
    problems = check_splits(frame)
    assert len(problems) == 2
    assert "speaker ann is in train and test" in problems[0] and "recording 2" in problems[1]
