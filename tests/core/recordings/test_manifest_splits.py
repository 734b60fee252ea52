"""Whether a manifest has what a model needs in every split."""

import pandas as pd
import pytest
from sound_files import source

from wakeword_core.recordings.manifest import (
    check_manifest,
    prevents_model,
)


def frame_of(*rows):
    columns = ["recording_id", "label", "role", "speaker", "split", "status"]
    return pd.DataFrame([(str(index), *row, "ok") for index, row in enumerate(rows)], columns=columns)


def test_a_complete_manifest_has_no_problems():
    rows = [(label, role, f"{label}{split}", split) for label, role in (("robin", "positive"), ("_negative", "noise"))
            for split in ("train", "val", "test")]  # fmt: skip
    assert check_manifest(frame_of(*rows), ["_negative", "robin"]) == []


def test_a_label_with_two_recordings_is_reported():
    rows = [("_negative", "background", split, split) for split in ("train", "val", "test")]
    rows += [("robin", "positive", "ann", "train"), ("robin", "positive", "bob", "test")]
    problems = check_manifest(frame_of(*rows), ["_negative", "robin"])
    assert len(problems) == 1
    assert "no usable recording of 'robin' in val: there are 2 by 2 speaker groups" in problems[0]
    assert "block:N, or unknown" in problems[0] and "hold each with split" in problems[0]


@pytest.mark.parametrize(("split", "prevented"), [("train", True), ("val", True), ("test", False)])
def test_a_model_needs_every_label_in_training_and_validation_only(split, prevented):
    rows = [("_negative", "background", name, name) for name in ("train", "val", "test")]
    rows += [("robin", "positive", name, name) for name in ("train", "val", "test") if name != split]
    assert prevents_model(frame_of(*rows), ["_negative", "robin"]) == prevented


@pytest.mark.parametrize("missing", ["robin", "_negative"])
def test_a_missing_class_is_reported_in_every_split(missing):
    kept = ("robin", "positive") if missing == "_negative" else ("_negative", "negative")
    rows = [(*kept, split, split) for split in ("train", "val", "test")] + [("_negative", "rir", "room", "test")] * (
        missing == "_negative"
    )
    problems = check_manifest(frame_of(*rows), ["_negative", "robin"])
    assert len(problems) == 3 and all(repr(missing) in problem for problem in problems)


@pytest.fixture
def first_data(tmp_path, write_tone):
    """Ten recordings in two folders, of the word and of others, as somebody may begin."""
    for index in range(10):
        folder = "robin" if index < 5 else "others"
        write_tone(tmp_path / "first" / folder / f"{index}.wav", seed=index)
    return tmp_path / "first"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speaker", ["parent", "unknown"])
def test_ten_recordings_in_two_folders_are_in_every_split(first_data, build, seed, speaker):
    sources = [
        source(first_data / "robin", "robin", role="positive", speaker=speaker),
        source(first_data / "others", "others", role="negative", speaker=speaker),
    ]
    frame, _ = build(*sources, seed=seed)
    assert check_manifest(frame, ["_negative", "robin"]) == []
    assert frame.groupby(["label", "split"]).size().to_dict() == {
        (label, split): 3 if split == "train" else 1
        for label in ("_negative", "robin") for split in ("train", "val", "test")
    }  # fmt: skip


def test_two_speakers_of_a_word_are_enough_to_train_and_one_is_not(first_data, build):
    labelled = {"role": "negative", "labels": "parent", "words": ("robin",)}
    frame, _ = build(source(first_data, "first", speaker="parent", **labelled))
    assert set(frame["split"]) == {"train"} and len(check_manifest(frame, ["_negative", "robin"])) == 4
    assert prevents_model(frame, ["_negative", "robin"])  # there is nothing to validate on
    frame, _ = build(source(first_data, "blocks", speaker="block:3", **labelled))
    (problem,) = check_manifest(frame, ["_negative", "robin"])
    assert problem.startswith("no usable recording of 'robin' in test: there are 5 by 2 speaker groups in all; three")
    assert not prevents_model(frame, ["_negative", "robin"])


def test_new_speakers_move_nobody_whose_split_is_known(recordings, build, write_tone):
    spoken = source(recordings, "spoken", speaker="parent")
    before = build(spoken)[0]["split"]
    for number in range(12):
        write_tone(recordings / f"new{number}" / "a.wav", seed=50 + number)
    after = build(spoken)[0]["split"]
    assert after[before.index].equals(before) and set(after) == {"train", "val", "test"}


def test_quarantined_recordings_do_not_count():
    frame = frame_of(*[("robin", "positive", split, split) for split in ("train", "val", "test")])
    frame.loc[0, "status"] = "quarantined"
    assert len(check_manifest(frame, ["robin"])) == 1
