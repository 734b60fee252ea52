"""Scores of windows cut at several places, and the groups that windows belong to."""

from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.evaluation.measure.clips import shifted_metrics, window_groups
from wakeword_core.evaluation.measure.metrics import clip_metrics
from wakeword_core.features.build import build_features, shifted_windows
from wakeword_core.features.mel import front_end
from wakeword_core.features.store import FeatureFile, load_windows
from wakeword_core.store.artifacts import Parts


def shifting(*shifts):
    return Config.model_validate({"evaluation": {"report": {"tta_shifts_ms": shifts}}})


def early_energy(windows):
    """A score that depends on where the sound lies in the window: [n, 2]."""
    wake = 1 / (1 + np.exp(-(windows[:, :, 60:100].mean(axis=(1, 2), dtype=np.float64) + 8) / 4))
    return np.column_stack([1 - wake, wake])


@pytest.fixture(scope="module")
def features(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    build_features(shards.folder, "test", Config(), "cpu", folder / "test", Parts(folder / "parts"))
    return folder / "test"


def test_a_shift_of_nothing_is_the_stored_features(shards, features):
    cut = [rows for (rows,) in shifted_windows(shards.folder, "test", Config(), [0])]
    stored = load_windows(features, clean_only=True)
    np.testing.assert_array_equal(np.concatenate([rows.mel for rows in cut]), stored.mel.numpy())
    np.testing.assert_array_equal(np.concatenate([rows.columns["labels"] for rows in cut]), stored.labels.numpy())


def test_a_shifted_window_is_cut_from_the_recording_that_much_later(shards, features):
    frontend = Config().features.frontend
    starts, size = FeatureFile(features).column("starts"), frontend.window_samples
    ids = load_windows(features).ids
    later = np.concatenate([rows.mel for (rows,) in shifted_windows(shards.folder, "test", Config(), [40])])
    for row in range(0, len(starts), 7):
        sound = shards.recordings[str(ids[row])].audio
        first = int(starts[row]) + 640
        padded = np.pad(sound, (max(0, -first), max(0, first + size - len(sound))))[max(0, first) :][:size]
        np.testing.assert_allclose(later[row].astype(np.float32), front_end(padded, frontend, 16_000), atol=0.01)


def expected(scores, labels, recordings):
    """Metrics of class scores [n, 2] by the plain rule."""
    scores = np.asarray(scores, dtype=np.float64)
    return clip_metrics(scores[:, 1], labels, 0.4, any_word=1 - scores[:, 0], recordings=recordings)


def test_scores_of_all_shifts_are_averaged(shards, features):
    shifts = (-80, 0, 120)
    averaged = shifted_metrics(early_energy, shards.folder, "test", shifting(*shifts), 0.4)
    stored = load_windows(features, clean_only=True)
    labels = stored.labels.numpy() > 0
    cut = list(shifted_windows(shards.folder, "test", Config(), shifts))
    scores = [[early_energy(rows.mel.astype(np.float32)) for rows in several] for several in cut]
    mean = np.concatenate([np.mean(one, axis=0) for one in scores])
    assert averaged == expected(mean, labels, stored.ids)
    plain = shifted_metrics(early_energy, shards.folder, "test", shifting(0), 0.4)
    assert plain == expected(early_energy(stored.mel.float().numpy()), labels, stored.ids)
    assert averaged.brier != plain.brier


def test_only_the_given_shifts_count_and_none_are_off(shards):
    assert shifted_metrics(early_energy, shards.folder, "test", Config()) is None
    plain = shifted_metrics(early_energy, shards.folder, "test", shifting(0))
    moved = shifted_metrics(early_energy, shards.folder, "test", shifting(100))
    assert moved.brier != plain.brier


def test_intervals_are_the_same_for_the_same_generator(shards):
    def measured():
        return shifted_metrics(early_energy, shards.folder, "test", shifting(0), random=np.random.default_rng(0))

    assert "brier" in measured().intervals and measured() == measured()


def test_averaging_removes_what_depends_on_the_cut_alone(shards):
    """A score of the right answer with an error of either sign, as the window moves: the mean is without it."""
    calls = []

    def jittery(windows):
        calls.append(len(windows))
        sign = 1 if len(calls) % 2 else -1
        wake = np.full(len(windows), 0.5 + 0.3 * sign)
        return np.column_stack([1 - wake, wake])

    averaged = shifted_metrics(jittery, shards.folder, "test", shifting(-20, 20))
    assert averaged.brier == pytest.approx(0.25)


@pytest.mark.parametrize("shift", [-201, 201])
def test_shifts_are_bounded(shift):
    with pytest.raises(ValueError, match="tta_shifts_ms"):
        EvaluationConfig(report={"tta_shifts_ms": (shift,)})


def test_windows_belong_to_their_recordings_groups(shards, features):
    ids = load_windows(features, clean_only=True).ids
    groups = window_groups(shards.folder, ids)
    assert set(groups) == {"speaker", "source", "snr"} and all(len(one) == len(ids) for one in groups.values())
    for row in (0, len(ids) // 2, len(ids) - 1):
        assert groups["speaker"][row] == shards.recordings[ids[row]].speaker
    assert set(groups["source"]) == {"source"}
    # the words stand 24 to 34 dB above what is around them; of all else, where speech is is unknown
    words = [shards.recordings[one].role == "positive" for one in ids]
    assert set(groups["snr"][words]) == {"20 to 30 dB", "30 dB and more"}
    assert set(groups["snr"][~np.array(words)]) == {"unknown"}
    assert window_groups(shards.folder, ids[:0])["speaker"].shape == (0,)


@pytest.mark.parametrize(
    ("noise", "band"), [(0.0, "30 dB and more"), (0.1, "0 to 10 dB"), (0.04, "10 to 20 dB"), (0.5, "0 to 10 dB")]
)
def test_snr_bands(noise, band, shards):
    from wakeword_core.evaluation.measure.clips import _snr_band

    random = np.random.default_rng(0)
    audio = random.standard_normal(16_000) * noise * 0.1 * 32_768
    audio[4_000:12_000] += random.standard_normal(8_000) * 0.02 * 32_768 * (noise < 0.5)
    word = replace(shards.of("positive")[0], audio=audio.astype(np.int16), seconds=1.0, speech_start=0.25)
    assert _snr_band(replace(word, speech_end=0.75)) == band
    assert _snr_band(replace(word, speech_start=0.0, speech_end=1.0)) == "unknown"
