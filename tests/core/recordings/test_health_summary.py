"""A manifest's figures and picture: every count is what the rows say, and the picture shows them."""

import io
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wakeword_core.config import SPLITS
from wakeword_core.recordings.health_picture import health_picture
from wakeword_core.recordings.summary import summarize


def frame(rows):
    """(split, label, speaker, seconds, kind) rows as a judged manifest."""
    found = pd.DataFrame(rows, columns=["split", "label", "speaker", "seconds", "kind"])
    found["status"] = np.where(found["kind"] == "", "ok", "quarantined")
    found["role"] = np.where(found["label"] == "_negative", "negative", "positive")
    found["source"], found["licence"], found["speaker_known"] = "mine", "", True
    return found


ROWS = [
    ("train", "robin", "ann", 3600.0, ""),
    ("train", "_negative", "ann", 1800.0, ""),
    ("train", "_negative", "bob", 1800.0, ""),
    ("train", "_negative", "bob", 1800.0, "silent"),
    ("test", "robin", "cid", 900.0, "clipped"),
]


def test_a_row_a_split_and_label():
    health = pd.DataFrame(summarize(frame(ROWS), {}, {}).health).set_index(["split", "label"])
    assert health.index.tolist() == [("train", "_negative"), ("train", "robin"), ("test", "robin")]
    assert health.loc[("train", "_negative")].to_dict() == {
        "recordings": 2, "share": 0.6667, "hours": 1.0, "speakers": 2, "real": 2, "real_speakers": 2, "left_out": 1,
    }  # fmt: skip
    assert health.loc[("train", "robin")].to_dict() == {
        "recordings": 1, "share": 0.3333, "hours": 1.0, "speakers": 1, "real": 1, "real_speakers": 1, "left_out": 0,
    }  # fmt: skip
    assert health.loc[("test", "robin"), ["recordings", "share", "left_out"]].tolist() == [0, 0, 1]


def test_real_recordings_and_their_speakers_are_counted_apart():
    found = frame([*ROWS[:1], *ROWS[:1], ("train", "robin", "eve", 1.0, ""), ("train", "robin", "fay", 1.0, "silent")])
    found["source"] = ["mine", "mine", "voices", "mine"]
    (row,) = summarize(found, {}, {}, synthetic=["voices"]).health
    assert [row[name] for name in ("recordings", "speakers", "real", "real_speakers")] == [3, 2, 2, 1]


rows = st.lists(
    st.tuples(
        st.sampled_from(SPLITS),
        st.sampled_from(["_negative", "a", "b"]),
        st.sampled_from("xyz"),
        st.floats(0.2, 60),
        st.sampled_from(["", "", "", "silent", "too long"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=40)
@given(rows)
def test_nothing_is_lost_between_the_rows_and_the_table(some):
    whole = frame(some)
    summary = summarize(whole, {}, {})
    assert sum(row["recordings"] for row in summary.health) == summary.usable == (whole["kind"] == "").sum()
    assert sum(row["left_out"] for row in summary.health) == summary.quarantined == sum(summary.reasons.values())
    for split in SPLITS:
        part = [row for row in summary.health if row["split"] == split]
        shares = sum(row["share"] for row in part)
        assert shares == pytest.approx(1 if summary.splits[split] else 0, abs=1e-3)
        assert sum(row["hours"] for row in part) == pytest.approx(summary.split_hours[split], abs=1e-3)
        assert {row["label"]: row["recordings"] for row in part if row["recordings"]} == summary.split_labels[split]


def test_the_speakers_of_each_class_are_told_apart():
    some = [("train", "a", "ann", 1.0, ""), ("train", "a", "ann", 1.0, ""), ("train", "b", "ann", 1.0, "")]
    assert [row["speakers"] for row in summarize(frame(some), {}, {}).health] == [1, 1]


def test_missing_sources_and_notes_are_kept():
    summary = summarize(frame(ROWS), {"quiet": 2, "none": 0}, {"tv": "the folder tv does not exist"})
    assert summary.missing_sources == [{"source": "tv", "problem": "the folder tv does not exist"}]
    assert summary.notes == {"quiet": 2}


@pytest.fixture(scope="module")
def picture():
    """The picture of `ROWS`."""
    return health_picture(summarize(frame(ROWS), {}, {}))


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_the_picture_is_a_small_png_that_does_not_change_by_itself(picture):
    assert opened(picture).format == "PNG" and len(picture) < 100_000
    assert health_picture(summarize(frame(ROWS), {}, {})) == picture


@pytest.mark.parametrize(
    "change",
    [
        {"health": []},
        {"reasons": {"silent": 5}, "quarantined": 5},
        {"missing_sources": [{"source": "tv", "problem": "gone"}]},
        {"unknown_speaker_share": 0.5},
        {"hours": 99.0},
    ],
)
def test_the_picture_shows_what_changed(picture, change):
    assert health_picture(replace(summarize(frame(ROWS), {}, {}), **change)) != picture


@pytest.mark.parametrize("labels", [0, 9])
def test_the_picture_holds_any_number_of_classes(picture, labels):
    some = [(split, f"word {index} and a very long rest of a name", "ann", 1.0, "") for split in SPLITS
            for index in range(labels)]  # fmt: skip
    made = health_picture(summarize(frame(some or ROWS[3:4]), {}, {}))
    assert opened(made).size == opened(picture).size and made != picture


def test_the_figures_are_json():
    from wakeword_core.files import canonical_json

    canonical_json(asdict(summarize(frame(ROWS), {}, {"a": "b"})))
