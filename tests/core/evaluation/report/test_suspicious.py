"""Suspicious training recordings: a wrong label, a silent word and a hidden word come first."""

import json

import h5py
import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.evaluation.report.suspicious import Cut, _places, describe, suspicious_recordings
from wakeword_core.features.build import build_features
from wakeword_core.features.store import FeatureFile
from wakeword_core.store.parts import Parts

RATE = 16_000
CUT = Cut(151, 160, 8, RATE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Features of loud words and quiet others; one word is silent, one other is loud in one place."""
    from tests.core.evaluation.conftest import pack, sound

    random = np.random.default_rng(2)
    words = [sound(random, 1.5, 0.2) for _ in range(5)]
    words[3] = sound(random, 1.5, 0.0005)
    others = [sound(random, 6.0, 0.002) for _ in range(5)]
    others[1][40_000:64_000] = sound(random, 1.5, 0.2)
    made = [{"audio": one, "role": "positive", "label": "hey robin", "speech": (0.1, 1.4)} for one in words]
    made += [{"audio": one, "role": "negative"} for one in others]
    root = tmp_path_factory.mktemp("suspicious")
    shards = pack(root, made)
    config = Config.model_validate({"features": {"augment": {"views": 3, "negative_views": 2}}})
    build_features(shards.folder, "train", config, "cpu", root / "mel", Parts(root / "mel.parts"))
    return shards, root / "mel", config


def loudness(mel):
    """A model that takes whatever is loud for the word."""
    level = 1 / (1 + np.exp(-(mel[:, :, -60:-30].mean(axis=(1, 2)) + 6)))
    return np.column_stack([1 - level, level]).astype(np.float32)


def test_the_wrong_ones_come_first(trained):
    shards, features, _ = trained
    found = suspicious_recordings(loudness, features, CUT, 4)
    silent = min(shards.of("positive"), key=lambda one: np.abs(one.audio.astype(int)).max())
    loud = max(shards.of("negative"), key=lambda one: np.abs(one.audio.astype(int)).max())
    assert {one.recording_id for one in found.worst[:2]} == {silent.recording_id, loud.recording_id}
    assert [one.loss for one in found.worst] == sorted((one.loss for one in found.worst), reverse=True)
    assert (found.positives, found.positives_wrong, found.others, found.others_wrong) == (5, 1, 5, 1)
    assert sum(one.positive for one in found.worst) == 2 and len(found.worst) == 4
    by_id = {one.recording_id: one for one in found.worst}
    assert by_id[silent.recording_id].score < 0.5 < by_id[loud.recording_id].score
    assert by_id[loud.recording_id].loss == pytest.approx(-np.log(1 - by_id[loud.recording_id].score), rel=1e-3)
    assert 1.4 < by_id[loud.recording_id].start < 3.2, "the window that decided is the loud one"


def test_only_clean_views_count(trained):
    _, features, _ = trained
    seen = []

    def counting(mel):
        assert mel.shape[1:] == (64, 151)
        seen.append(len(mel))
        return loudness(mel)

    suspicious_recordings(counting, features, CUT, 2)
    views = FeatureFile(features).column("views")
    assert len(seen) == int((views == 0).sum()) < len(views)


def test_a_word_counts_where_it_is_not_before():
    """Nothing that ends before the word's end can decide for it; windows stay within the row."""
    places = _places(301, 200, True, CUT)
    assert places[0] == 50 and places[-1] == 150 and set(np.diff(places)) <= {8, 4}
    assert _places(151, 140, True, CUT) == _places(151, -1, False, CUT) == [0]
    others = _places(301, -1, False, CUT)
    assert others[0] == 0 and others[-1] == 150 and max(np.diff(others)) < 40
    assert _places(301, 300, True, CUT) == [150]


def test_one_kind_fills_up_for_the_other(trained):
    _, features, _ = trained
    found = suspicious_recordings(loudness, features, CUT, 8)
    assert len(found.worst) == 8 and sum(one.positive for one in found.worst) == 4
    assert len(suspicious_recordings(loudness, features, CUT, 100).worst) == 10
    assert suspicious_recordings(loudness, features, CUT, 0).worst == []


def test_an_empty_split_has_nothing_suspicious(trained, tmp_path):
    _, features, _ = trained
    (tmp_path / "parts").mkdir()
    (part,) = list((features / "parts").iterdir())[:1]
    for original, copy in ((part, tmp_path / "parts" / part.name), (features / "train.h5", tmp_path / "train.h5")):
        with h5py.File(original) as whole, h5py.File(copy, "w") as empty:
            for name, data in whole.items():
                empty.create_dataset(name, data=data[:0])
            empty.attrs.update(whole.attrs)
            if "parts_json" in whole.attrs:
                empty.attrs["parts_json"] = np.bytes_(json.dumps([part.name]).encode())
    found = suspicious_recordings(loudness, tmp_path, CUT, 5)
    assert found.worst == [] and found.positives == found.others == 0


def test_they_are_described_with_their_sound(trained):
    shards, features, config = trained
    worst = suspicious_recordings(loudness, features, CUT, 4).worst
    window = config.features.frontend.window_samples / RATE
    described, excerpts = describe(shards.folder, worst, RATE, window, 2.5)
    for one, more, excerpt in zip(worst, described, excerpts, strict=True):
        recording = shards.recordings[one.recording_id]
        assert (more.source, more.role, more.seconds) == (recording.source, recording.role, recording.seconds)
        power = float(np.mean((recording.audio / 32_768) ** 2))
        assert more.level_dbfs == pytest.approx(10 * np.log10(power))
        assert (more.speech_start, more.speech_end) == ((0.1, 1.4) if one.positive else (None, None))
        assert len(excerpt.pcm) == min(len(recording.audio), 40_000)
    assert describe(shards.folder, [], RATE, window, 2.5) == ([], [])
