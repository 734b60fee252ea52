"""Several scorers on the same streams."""

import hashlib

import numpy as np
import pytest

from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import hear_streams, score_streams

RATE = 16_000


class Level:
    """A score each tenth of a second, which is how loud it is; remembers what it heard."""

    def __init__(self, gain):
        self.gain, self.heard = gain, []

    def __call__(self, pcm):
        self.heard.append(hashlib.sha256(pcm.tobytes()).hexdigest())
        blocks = pcm[: len(pcm) // 1_600 * 1_600].reshape(-1, 1_600).astype(np.float64)
        return np.arange(1, len(blocks) + 1) / 10, np.clip(self.gain * np.abs(blocks).mean(axis=1) / 32_768, 0, 1)


def test_all_hear_the_same_and_each_has_what_it_has_alone(shards, config):
    conditions = [Condition(None), Condition(10.0)]
    soft, loud = Level(1.0), Level(2.0)
    both = hear_streams([soft, loud], shards.folder, config, conditions=conditions, short_phrases=False)
    assert soft.heard == loud.heard and len(set(soft.heard)) == len(soft.heard)
    alone = score_streams(Level(2.0), shards.folder, config, conditions=conditions, short_phrases=False)
    assert both[1].words == alone.words == 22 and both[1].conditions == tuple(conditions)
    for mine, other in zip(both[1].sessions, alone.sessions, strict=True):
        assert np.array_equal(mine.scores, other.scores) and mine.seconds == other.seconds
    assert both[0].sessions[0].scores.max() < both[1].sessions[0].scores.max()
    assert len(both[0].confusables) == len(alone.confusables) == 1


@pytest.mark.parametrize(("minutes", "least", "most"), [(0.1, 6, 15), (0.5, 16, 30)])
def test_minutes_bound_each_kind_of_sound_and_progress_ends_with_it(shards, config, minutes, least, most):
    told = []
    (scores,) = hear_streams(
        [Level(1.0)], shards.folder, config, lambda what, done, total: told.append((done, total)),
        [Condition(None)], short_phrases=False, minutes=minutes,
    )  # fmt: skip
    whole = score_streams(Level(1.0), shards.folder, config, conditions=[Condition(None)], short_phrases=False)
    # the first session, of a quarter of a minute, is heard in any case
    assert least <= 3_600 * scores.background_hours <= most < 3_600 * whole.background_hours
    assert 0 < scores.words <= whole.words
    assert told[-1][0] == told[-1][1] == max(done for done, _ in told)
