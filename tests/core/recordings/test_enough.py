"""What is said of a data set's size is what was measured, with what it rests on."""

import re
from pathlib import Path

import pytest

from wakeword_core.recordings.enough import MEASURED, Learnt, expectation, is_too_little, learnt_words, scarcest

NOTES = (Path(__file__).parents[3] / "benchmarks" / "NOTES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("one", MEASURED, ids=lambda one: f"{one.recordings} {'with' if one.judge else 'alone'}")
def test_every_figure_stands_in_the_notes_that_are_named(one) -> None:
    _, found, rest = NOTES.partition(f"## {one.section}\n")
    section = rest.partition("\n## ")[0]
    assert found
    half_an_hour = [
        float(second) for second in re.findall(r"[\d.]+ / \**([\d.]+)\** ?(?:\([^)]*\) )?/ [\d.]+", section)
    ]
    assert set(one.missed) <= set(half_an_hour)
    if one.recordings == 10:
        assert sum(int(words) for words in re.findall(r"\| (\d+), 1\.9\d \|", section)) == one.tested
    else:
        assert "(alexa 329, jarvis 384, computer 411)" in NOTES and one.tested == 329 + 384 + 411
    if one.recordings == 193:
        assert len(one.missed) == 9 and one.hours == pytest.approx(
            sum(map(float, re.findall(r" in ([\d.]+) h(?=[;.]? [/|\d])", section)[:9])), abs=0.1
        )


@pytest.mark.parametrize(
    ("real", "synthetic", "judge", "said"),
    [
        (0, 600, True, ("no real recording to learn from and 600 synthetic", "1.4 to 16.9 %", "0.4 to 8.9 %")),
        (9, 600, True, ("no real one and synthetic ones 1.4 to 16.9 % (of 1,124 in 5.7 h of background)",)),
        (10, 600, True, ("with 10 real ones and synthetic ones 0.4 to 8.9 %", "with 193 real ones", "0 to 2.2 %")),
        (10, 600, False, ("without a judge", "4.3 to 16.6 %", "0 to 15.3 %")),
        (50, 0, True, ("50 real recordings by 3 speakers", "was not measured", "0 to 2.2 %")),
        (400, 0, False, ("no synthetic one 0 to 15.3 %",)),
    ],
)
def test_a_data_set_is_held_against_the_nearest_that_were_measured(real, synthetic, judge, said) -> None:
    sentence = expectation(Learnt("robin", real, 3, synthetic), judge)
    assert all(part in sentence for part in said), sentence
    assert ("was not measured" in sentence) == (real == 50)
    assert sentence.count("% (of") == (1 if real >= 193 else 2)


def test_only_few_recordings_without_synthetic_ones_are_too_little() -> None:
    assert is_too_little(Learnt("robin", 99, 9, 0), 100)
    assert not is_too_little(Learnt("robin", 100, 9, 0), 100)
    assert not is_too_little(Learnt("robin", 0, 0, 1), 100)


def test_the_scarcest_word_is_looked_at_and_a_word_without_recordings_is_one() -> None:
    row = {"split": "train", "label": "robin", "recordings": 30, "real": 20, "real_speakers": 5}
    other = {**row, "label": "cat", "recordings": 40, "real": 40}
    words = learnt_words([row, other, {**row, "split": "test", "real": 1}], ("robin", "cat"))
    assert words == [Learnt("robin", 20, 5, 10), Learnt("cat", 40, 5, 0)]
    assert scarcest(words).label == "cat"
    assert scarcest(learnt_words([row], ("robin", "dog"))) == Learnt("dog", 0, 0, 0)
