import itertools
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import SPLITS
from wakeword_core.config.recordings import SplitsConfig
from wakeword_core.errors import DataError
from wakeword_core.recordings.splits import assign_splits, check_splits, split_of, split_recordings

SHARES = SplitsConfig()


def frame_of(groups):
    """A frame as `assign_splits` takes it, of (speaker, labels, split it is held in) of each group."""
    rows = [(speaker, label, "negative", fixed, True) for speaker, labels, fixed in groups for label in sorted(labels)]
    return pd.DataFrame(rows, columns=["speaker", "label", "role", "fixed", "usable"])


def grown(parts, seed=1, shares=SHARES):
    """The split of each speaker after each part of groups has joined those before it."""
    known, everything, history = {}, [], []
    for part in parts:
        everything += part
        frame = frame_of(everything)
        splits, new = assign_splits(frame, seed, shares, known)
        known |= new
        history.append(dict(zip(frame["speaker"], splits, strict=True)))
    return history


def counts_of(splits, groups):
    return Counter(splits[speaker] for speaker, _, _ in groups)


held = st.sampled_from([None, None, None, "train", "val", "test"])
group = st.tuples(st.text("abcdef", min_size=1, max_size=4), st.sets(st.sampled_from("xyz"), min_size=1))
free_groups = st.lists(st.tuples(group, st.none()).map(lambda one: (*one[0], one[1])), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(st.lists(free_groups, min_size=2, max_size=6), st.integers(0, 99))
def test_additions_never_move_an_old_recording(parts, seed):
    history = grown(parts, seed)
    for before, after in itertools.pairwise(history):
        assert {speaker: after[speaker] for speaker in before} == before
    assert grown(parts, seed) == history
    assert grown([part[::-1] for part in parts], seed) == history


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(0, 99), st.sampled_from([0.0, 0.3]))
def test_every_split_has_its_share_of_a_label_however_its_speakers_come(sizes, seed, rotation):
    shares = SplitsConfig(rotation=rotation)
    names = iter([(f"s{number}", {"robin"}, None) for number in range(sum(sizes))])
    parts = [list(itertools.islice(names, size)) for size in sizes]
    for splits in grown(parts, seed, shares):
        counts = Counter(splits.values())
        assert counts["train"] >= 1 and (len(splits) < 2 or counts["val"] >= 1) and (len(splits) < 3 or counts["test"])
        if 3 < len(splits) <= 20:
            assert abs(counts["test"] - 0.2 * len(splits)) <= 1 and abs(counts["val"] - 0.15 * len(splits)) <= 1


@pytest.mark.parametrize("speakers", [3, 5, 8, 12, 20])
def test_few_known_speakers_who_say_everything_are_in_every_split(speakers):
    for seed in range(40):
        groups = [(f"mine/{number}", {"robin", "wren", "_negative"}, None) for number in range(speakers)]
        (splits,) = grown([groups], seed)
        counts = counts_of(splits, groups)
        assert min(counts[split] for split in SPLITS) >= 1 and counts["train"] == max(counts.values())


def test_words_of_different_speakers_are_in_every_split_each():
    for seed in range(40):
        words = [[(f"{word}/{number}", {word}, None) for number in range(5)] for word in ("robin", "wren", "_negative")]
        (splits,) = grown([list(itertools.chain(*words))], seed)
        assert all(counts_of(splits, groups) == {"train": 3, "val": 1, "test": 1} for groups in words)


def test_many_speakers_lie_where_their_hash_puts_them():
    groups = [(f"s{number}", {"robin"} if number % 3 else {"robin", "wren"}, None) for number in range(400)]
    (splits,) = grown([groups])
    assert splits == {speaker: split_of(speaker, 1, SHARES) for speaker, _, _ in groups}


def test_held_sources_count_for_what_their_splits_need():
    held_out = [("home/a", {"robin"}, "test")]
    (splits,) = grown([[*held_out, ("home/b", {"robin"}, None), ("home/c", {"robin"}, None)]])
    assert splits["home/a"] == "test" and {splits["home/b"], splits["home/c"]} == {"train", "val"}
    much = [(f"tv/{number}", {"_negative"}, "test") for number in range(50)]
    others = [(f"home/{number}", {"_negative"}, None) for number in range(40)]
    (splits,) = grown([much + others])
    assert all(splits[speaker] == split_of(speaker, 1, SHARES) for speaker, _, _ in others)


def test_folds_put_each_remembered_speaker_in_the_test_once():
    groups = [(f"s{number}", {"robin"}, None) for number in range(12)]
    known, places = {}, []
    for fold in range(4):
        shares = SplitsConfig(test_fraction=0.25, rotation=fold / 4)
        splits, new = assign_splits(frame_of(groups), 1, shares, known)
        known |= new
        places.append(splits.tolist())
    assert all(place.count("test") == 1 for place in zip(*places, strict=True))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), held), min_size=1, max_size=40), st.integers(0, 99))
def test_no_speaker_is_on_two_sides_even_when_sources_are_held_out(rows, seed):
    frame = frame_of([(speaker, {"robin"}, fixed) for speaker, fixed in rows])
    frame["split"], _ = assign_splits(frame, seed, SHARES, {})
    frame["recording_id"] = [str(index) for index in range(len(rows))]
    assert check_splits(frame) == []
    assert (frame.groupby("speaker")["split"].nunique() == 1).all()
    for _, group in frame.groupby("speaker"):
        wanted = [one for one in ("test", "val", "train") if one in set(group["fixed"])]
        assert not wanted or group["split"].iloc[0] == wanted[0]


def test_the_memory_is_kept_by_phrase_and_settings_and_holds_no_names(tmp_path):
    names = [f"s{number}" for number in range(10)]

    def split(some, phrase="robin", shares=SHARES):
        rows = frame_of([(speaker, {"robin"}, None) for speaker in some])
        return dict(zip(some, split_recordings(rows, phrase, 1, shares, tmp_path / "splits"), strict=True))

    first = split(names[:2])
    after = split(names)
    assert first.items() <= after.items() and set(after.values()) == set(SPLITS)
    (memory,) = (tmp_path / "splits").glob("*.json")
    assert not any(name in memory.read_text() for name in names)
    unchanged = memory.read_bytes()
    assert split(names[3:]).items() <= after.items() and memory.read_bytes() == unchanged
    split(names, "wren")
    split(names, shares=SplitsConfig(val_fraction=0.2))
    assert len(list((tmp_path / "splits").glob("*.json"))) == 3
    memory.write_text("[1]")
    with pytest.raises(DataError, match=r"remembers the split of each speaker.*restore it"):
        split(names)


def test_shares_are_about_what_is_asked_and_seeds_differ():
    found = pd.Series([split_of(f"s{index}", 1, SHARES) for index in range(4_000)])
    shares = found.value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.03) and shares["val"] == pytest.approx(0.15, abs=0.03)
    assert found.tolist() != [split_of(f"s{index}", 2, SHARES) for index in range(4_000)]
    assert split_of("ann", 1, SHARES) == split_of("ann", 1, SHARES)


def test_growing_the_test_share_only_takes_from_the_others():
    more = SplitsConfig(test_fraction=0.3)
    for index in range(300):
        if split_of(f"s{index}", 1, SHARES) == "test":
            assert split_of(f"s{index}", 1, more) == "test"


def test_leaks_are_named():
    frame = pd.DataFrame(
        {"recording_id": ["1", "2", "2"], "speaker": ["ann", "ann", "bob"], "split": ["test", "train", "test"]}
    )
    problems = check_splits(frame)
    assert len(problems) == 2
    assert "speaker ann is in train and test" in problems[0] and "recording 2" in problems[1]


@pytest.mark.parametrize(
    "place", ["[]", "null", '{"a": "nan"}', '{"a": 1e308}', '{"a": -1}', '{"a": null}', '{"a": [0]}']
)
def test_an_odd_memory_of_places_is_one_sentence(tmp_path: Path, place: str) -> None:
    rows = pd.DataFrame({"speaker": ["a"], "label": ["x"], "role": ["negative"], "usable": [True], "fixed": [""]})
    split_recordings(rows, "robin", 1, SplitsConfig(), tmp_path)
    (memory,) = tmp_path.glob("*.json")
    memory.write_text(place)
    with pytest.raises(DataError, match="which remembers the split of each speaker, cannot be read"):
        split_recordings(rows, "robin", 1, SplitsConfig(), tmp_path)
