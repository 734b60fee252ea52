"""Where windows lie."""

from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import FeaturesConfig
from wakeword_core.features.windows import Synthetic, aligned_reach, label_indices, plan_windows
from wakeword_core.shards.shard_file import Recording

RATE = 16_000
FEATURES = FeaturesConfig(augment={"views": 20, "negative_views": 3})
WINDOW = FEATURES.frontend.window_samples
ROW = FEATURES.row_samples("train")
AFTER = FEATURES.windows.tail_seconds + FEATURES.context.jitter_seconds


def shard(*recordings: tuple[str, float, float]) -> list[Recording]:
    """Recordings of (role, seconds, end of speech)."""
    return [
        Recording(
            recording_id=f"id{index}",
            label="hey robin" if role == "positive" else "_negative",
            role=role,
            speaker="s",
            source="s",
            seconds=seconds,
            speech_start=0.1,
            speech_end=end,
            audio=np.ones(round(seconds * RATE), np.int16),
        )
        for index, (role, seconds, end) in enumerate(recordings)
    ]


def ends(plan, rows=slice(None), length: int = WINDOW) -> np.ndarray:
    return (plan.start[rows] + length) / RATE


def test_a_window_ends_a_tail_after_the_word() -> None:
    plan = plan_windows(shard(("positive", 3.0, 1.4)), "val", FEATURES, RATE, seed=1)
    assert ends(plan)[0] == pytest.approx(1.4 + FEATURES.windows.tail_seconds, abs=1e-3)
    assert plan.word_end.tolist() == [round(1.4 * RATE)]


def test_a_training_row_ends_a_tail_and_jitter_after_the_word_and_views_later() -> None:
    plan = plan_windows(shard(("positive", 3.0, 1.4)), "train", FEATURES, RATE, seed=1)
    assert plan.view.tolist() == list(range(20))
    moved = ends(plan, length=ROW) - 1.4
    assert moved[0] == pytest.approx(AFTER, abs=1e-3)
    # a window that ends with the word is whole inside every row, and so is the time after it
    assert moved.min() >= AFTER - 1e-3 and moved.max() <= (ROW - WINDOW) / RATE
    assert np.ptp(moved) > 0.5


@pytest.mark.parametrize("context", [0, 60, 150])
def test_the_reach_of_aligned_rows_holds_all_of_them_and_no_more(context: int) -> None:
    features = FEATURES.changed({"context.frames": context, "augment.views": 64})
    recordings = [("positive", 9.0, 4.0 + index / 100) for index in range(60)]
    plan = plan_windows(shard(*recordings), "train", features, RATE, seed=1)
    before, after = aligned_reach(features, RATE)
    begins, ends = plan.start - plan.word_end, plan.start + features.row_samples("train") - plan.word_end
    assert -before <= begins.min() < -before + 0.01 * RATE
    assert after - 0.01 * RATE < ends.max() <= after


def test_every_window_of_a_long_negative_is_in_a_training_row() -> None:
    plan = plan_windows(shard(("negative", 9.0, np.nan)), "train", FEATURES, RATE, seed=1)
    clean = plan.start[plan.view == 0]
    assert (np.diff(clean) <= ROW - WINDOW).all()
    assert ends(plan)[0] == pytest.approx(FEATURES.windows.edge_seconds)
    assert clean[-1] + ROW == 9 * RATE and set(plan.word_end) == {-1}


def test_without_context_the_word_moves_within_tail_and_jitter() -> None:
    bare = FEATURES.changed({"context.frames": 0})
    plan = plan_windows(shard(("positive", 3.0, 1.4)), "train", bare, RATE, seed=1)
    assert ends(plan)[0] == pytest.approx(1.4 + bare.windows.tail_seconds, abs=1e-3)
    moved = ends(plan, plan.view > 0) - 1.4
    assert moved.min() >= -1e-3 and moved.max() <= AFTER and np.ptp(moved) > 0.15


def test_rows_without_context_are_windows() -> None:
    bare = FEATURES.changed({"context.frames": 0})
    plan = plan_windows(shard(("negative", 5.3, np.nan)), "train", bare, RATE, seed=1)
    alike = plan_windows(shard(("negative", 5.3, np.nan)), "val", bare, RATE, seed=1)
    assert plan.start[plan.view == 0].tolist() == alike.start.tolist()


def test_validation_has_one_clean_view() -> None:
    plan = plan_windows(shard(("positive", 3.0, 1.4), ("negative", 1.0, np.nan)), "val", FEATURES, RATE, seed=1)
    assert set(plan.view) == {0} and (plan.recording == 0).sum() == 1


def test_a_long_negative_gives_windows_to_its_end() -> None:
    plan = plan_windows(shard(("negative", 5.3, np.nan)), "val", FEATURES, RATE, seed=1)
    assert ends(plan)[0] == pytest.approx(FEATURES.windows.edge_seconds) and ends(plan)[-1] == pytest.approx(
        5.3, abs=1e-4
    )
    assert (np.diff(plan.start) <= FEATURES.rows.negative_hop_seconds * RATE).all()


def test_a_short_negative_is_heard_beginning_and_ending() -> None:
    plan = plan_windows(shard(("negative", 0.8, np.nan)), "val", FEATURES, RATE, seed=1)
    assert ends(plan).tolist() == pytest.approx([0.4, 0.8])
    shortest = plan_windows(shard(("negative", 0.3, np.nan)), "val", FEATURES, RATE, seed=1)
    assert ends(shortest).tolist() == pytest.approx([0.3])


def test_augmented_views_of_a_negative_lie_elsewhere() -> None:
    plan = plan_windows(shard(("negative", 9.0, np.nan)), "train", FEATURES, RATE, seed=1)
    clean = np.repeat(plan.start[plan.view == 0], FEATURES.augment.negative_views)
    moved = (plan.start - clean)[plan.view > 0]
    assert np.ptp(moved) > 0.5 * (ROW - WINDOW)
    assert np.abs(moved).max() <= 0.5 * (ROW - WINDOW)


def test_a_hard_negative_is_aligned_as_a_positive_is() -> None:
    plan = plan_windows(shard(("positive", 1.2, 0.9), ("hard_negative", 1.2, 0.9)), "val", FEATURES, RATE, seed=1)
    assert plan.recording[:2].tolist() == [0, 1] and plan.start[0] == plan.start[1]


def test_windows_of_one_recording_are_limited() -> None:
    config = FEATURES.changed({"rows.max_windows": 4})
    assert len(plan_windows(shard(("background", 60.0, np.nan)), "val", config, RATE, seed=1)) == 4


def test_rows_do_not_depend_on_the_other_recordings() -> None:
    both = shard(("negative", 3.0, np.nan), ("positive", 3.0, 1.4))
    crowd, single = (plan_windows(one, "train", FEATURES, RATE, seed=1) for one in (both, both[1:]))
    mine = crowd.recording == 1
    np.testing.assert_array_equal(crowd.key[mine], single.key)
    np.testing.assert_array_equal(crowd.start[mine], single.start)


def test_another_seed_jitters_otherwise() -> None:
    one, other = (plan_windows(shard(("positive", 3.0, 1.4)), "train", FEATURES, RATE, seed=s) for s in (1, 2))
    assert (one.start[1:] != other.start[1:]).any() and one.start[0] == other.start[0]


def test_every_row_has_its_own_key() -> None:
    plan = plan_windows(shard(("negative", 30.0, np.nan), ("positive", 3.0, 1.4)), "train", FEATURES, RATE, seed=1)
    assert len(set(plan.key.tolist())) == len(plan)


def test_rooms_are_not_windows_and_only_positives_have_a_wake_word_class() -> None:
    some = shard(("rir", 0.5, np.nan), ("noise", 3.0, np.nan), ("positive", 3.0, 1.4))
    plan = plan_windows(some, "val", FEATURES, RATE, seed=1)
    assert 0 not in plan.recording
    assert label_indices(some, ("_negative", "hey robin")).tolist() == [0, 0, 1]


def views(plan) -> list[int]:
    """How many views each recording has."""
    return np.bincount(plan.recording).tolist()


def spoken(*sources: str) -> list[Recording]:
    """Positives of these sources, then a negative."""
    recordings = shard(*[("positive", 3.0, 1.4)] * len(sources), ("negative", 0.8, np.nan))
    return [replace(one, source=source) for one, source in zip(recordings, (*sources, "s"), strict=True)]


def test_real_words_have_views_of_their_own_beside_synthetic_ones_whatever_their_number() -> None:
    features = FEATURES.changed({"augment.views": 4, "augment.real_views": 32})
    both = Synthetic(frozenset({"voices"}), frozenset({"hey robin"}))
    one = plan_windows(spoken("mine", "voices"), "train", features, RATE, 1, both)
    assert views(one)[:2] == [32, 4]
    many = plan_windows(spoken("mine", "voices", *["mine"] * 5), "train", features, RATE, 1, both)
    assert views(many)[:-1] == [32, 4, *[32] * 5]
    # the first views are those that were there, and the others are drawn like them
    before = plan_windows(spoken("mine", "voices"), "train", features.changed({"augment.real_views": None}), RATE, 1)
    for name in ("key", "start", "word_end"):
        first = getattr(one, name)[one.recording == 0]
        assert np.array_equal(first[:4], getattr(before, name)[before.recording == 0])
        assert np.array_equal(first, getattr(many, name)[many.recording == 0])
    assert len(set(one.key.tolist())) == len(one)


@pytest.mark.parametrize(
    ("synthetic", "real_views", "split", "expected"),
    [
        (Synthetic(), 32, "train", [4, 4]),
        (Synthetic(frozenset({"voices"}), frozenset()), 32, "train", [4, 4]),
        (Synthetic(frozenset({"voices"}), frozenset({"another word"})), 32, "train", [4, 4]),
        (Synthetic(frozenset({"voices", "mine"}), frozenset({"hey robin"})), 32, "train", [4, 4]),
        (Synthetic(frozenset({"voices"}), frozenset({"hey robin"})), None, "train", [4, 4]),
        (Synthetic(frozenset({"voices"}), frozenset({"hey robin"})), 1, "train", [1, 4]),
        (Synthetic(frozenset({"voices"}), frozenset({"hey robin"})), 32, "val", [1, 1]),
    ],
)
def test_elsewhere_real_words_have_the_views_of_all(synthetic, real_views, split, expected) -> None:
    features = FEATURES.changed({"augment.views": 4, "augment.real_views": real_views})
    plan = plan_windows(spoken("mine", "voices"), split, features, RATE, 1, synthetic)
    assert views(plan)[:2] == expected
