"""The groups that windows belong to."""

from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.evaluation.measure.clips import window_groups
from wakeword_core.features.build import build_features
from wakeword_core.features.store import FeatureFile
from wakeword_core.store.parts import Parts


@pytest.fixture(scope="module")
def features(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    build_features(shards.folder, "test", Config(), "cpu", folder / "test", Parts(folder / "parts"))
    return folder / "test"


def test_windows_belong_to_their_recordings_groups(shards, features):
    recording_ids = FeatureFile(features).column("recording_ids").astype(str)
    groups = window_groups(shards.folder, recording_ids)
    assert set(groups) == {"speaker", "source", "snr"} and all(
        len(one) == len(recording_ids) for one in groups.values()
    )
    for row in (0, len(recording_ids) // 2, len(recording_ids) - 1):
        assert groups["speaker"][row] == shards.recordings[recording_ids[row]].speaker
    assert set(groups["source"]) == {"source"}
    # the words stand 24 to 34 dB above what is around them; of all else, where speech is is unknown
    words = [shards.recordings[one].role == "positive" for one in recording_ids]
    assert set(groups["snr"][words]) == {"20 to 30 dB", "30 dB and more"}
    assert set(groups["snr"][~np.array(words)]) == {"unknown"}
    assert window_groups(shards.folder, recording_ids[:0])["speaker"].shape == (0,)


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
