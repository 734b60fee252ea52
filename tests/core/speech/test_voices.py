"""Voices keep to their side: none that a threshold is chosen on speaks in the test."""

from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from wakeword_core.config import SPLITS, SourceConfig, SynthesisConfig
from wakeword_core.config.recordings import SplitsConfig
from wakeword_core.recordings.labels import speaker_groups
from wakeword_core.recordings.sources import find_recordings
from wakeword_core.recordings.splits import assign_splits, check_splits
from wakeword_core.speech.synthesis import synthesize, synthetic_sources
from wakeword_core.workers.local import LocalWorkers

SMALL = SynthesisConfig(positives=16, hard_negatives=12, negatives=8, background_minutes=0.5)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[SourceConfig]:
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("hibari")
    folder: Path = tmp_path_factory.mktemp("made")
    synthesize("hey robin", SMALL, 16_000, 1, folder, folder / "cache", workers=LocalWorkers(1))
    return synthetic_sources(folder)


def test_every_source_says_that_it_is_synthetic(sources: list[SourceConfig]) -> None:
    assert {source.role for source in sources} == {"positive", "hard_negative", "negative", "background", "noise"}
    assert all(source.synthetic for source in sources)


@pytest.mark.parametrize("seed", range(5))
def test_no_voice_that_thresholds_are_chosen_on_is_in_the_test(sources: list[SourceConfig], seed: int) -> None:
    """Whatever a voice says, in whichever source, it says it in one split."""
    rows = []
    for source in sources:
        if source.speaker_space:
            paths = [found.path for found in find_recordings(source)[0]]
            groups, known = speaker_groups(source, paths, paths)
            assert all(known)
            common = (source.label or "_negative", source.role, True, source.split or "")
            rows += [(path, group, *common) for path, group in zip(paths, groups, strict=True)]
    frame = pd.DataFrame(rows, columns=["recording_id", "speaker", "label", "role", "usable", "fixed"])
    frame["split"], _ = assign_splits(frame, seed, SplitsConfig(), {})
    voices = [set(frame["speaker"][frame["split"] == split]) for split in SPLITS]
    assert all(voices) and not any(one & other for one, other in combinations(voices, 2))
    assert check_splits(frame) == []
    # it would say nothing if each voice were in one source only
    assert frame.groupby("speaker")["role"].nunique().max() > 1
