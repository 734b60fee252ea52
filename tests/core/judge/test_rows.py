"""Training rows as an encoder hears them: as a whole, or in windows that end where a head is to answer."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from wakeword_core.errors import DataError
from wakeword_core.graph.project import Project
from wakeword_core.judge.rows import EmbeddedRows, embed_rows

STEP, SEEN = 1_280, 9


@dataclass
class Loudness:
    """An encoder whose one number of a step is how loud it is, whatever is around it."""

    whole_windows: bool
    window_samples: int = 12 * STEP
    name, licence, content, sample_rate, numbers, step_samples = "loudness", "CC0-1.0", "", 16_000, 1, STEP

    def steps_of(self, samples: int) -> int:
        return samples // STEP

    def encode(self, sound: np.ndarray) -> np.ndarray:
        kept = sound[:, sound.shape[1] % STEP :]
        return np.abs(kept).reshape(len(sound), -1, STEP).mean(2)[:, :, None].astype(np.float32)


def rows(project: Project, encoder: Loudness) -> EmbeddedRows:
    shards, features = (project.require(stage, "train").path for stage in ("audio_shards", "mel_features"))
    return embed_rows(shards, features, project.config, (), encoder, SEEN)


def test_windows_hold_the_steps_that_end_where_they_do(project):
    steps, windows = (rows(project, Loudness(whole)) for whole in (False, True))
    assert steps.places is None and windows.places is not None
    assert torch.equal(steps.labels, windows.labels)
    assert torch.equal(steps.word_steps.nan_to_num(), windows.word_steps.nan_to_num())
    places = windows.places.tolist()
    assert places[-1] == steps.embeddings.shape[1] - 1 and set(np.diff(places)) == {3} and len(places) > 1
    assert windows.embeddings.shape == (len(steps.labels), len(places), SEEN, 1)
    for number, place in enumerate(places):
        assert torch.equal(windows.embeddings[:, number], steps.embeddings[:, place - SEEN + 1 : place + 1])


def test_a_word_ends_at_the_step_that_its_row_says(project):
    found = rows(project, Loudness(False))
    loud = found.embeddings[:, :, 0].float()
    ends = found.word_steps[found.labels > 0]
    inside = (ends > 0) & (ends < loud.shape[1] - 2)
    assert inside.any()
    # the word is the loudest of what was recorded and ends within the step, or at its edge
    last = ends[inside].ceil().long()
    at_end = loud[found.labels > 0][inside].gather(1, torch.stack([last - 1, last, last + 1], 1)).amax(1)
    assert (at_end > loud[found.labels > 0][inside].median(1).values).float().mean() > 0.8


def test_rows_that_are_shorter_than_a_window_are_refused(project):
    with pytest.raises(DataError, match=r"the judge hears 8\.00 s"):
        rows(project, Loudness(True, 100 * STEP))
