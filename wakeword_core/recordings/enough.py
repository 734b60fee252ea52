"""What a data set of some size can give, by models that were measured: `benchmarks/NOTES.md` says how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What models of three words missed that learnt from so many real recordings of their word."""

    judge: bool  # whether they have one
    recordings: int  # of each word in training, at least
    synthetic: bool  # whether there were synthetic recordings of the word besides
    missed: tuple[float, ...]  # % at 10 dB and half a false alarm an hour, read off the test: of each word, or third
    tested: int  # real recordings of the words, each in the test once
    hours: float  # of test background, in all
    section: str  # of benchmarks/NOTES.md

    def __str__(self) -> str:
        real = f"{self.recordings} real ones" if self.recordings else "no real one"
        return (
            f"with {real} and {'synthetic ones' if self.synthetic else 'no synthetic one'} {min(self.missed):g} to "
            f"{max(self.missed):g} % (of {self.tested:,} in {self.hours:.1f} h of background)"
        )


_TEXT = "2026-11-30: words from text alone, noise from 0 to 45 dB"
_TEN = "2026-11-29: ten recordings of one's own, weighed up"
MEASURED = (
    Measured(True, 0, True, (1.4, 2.4, 16.9), 1_124, 5.7, _TEXT),
    Measured(True, 10, True, (0.5, 0.4, 8.9), 674, 5.8, _TEN),
    Measured(
        True, 193, False, (0.0, 0.9, 1.8, 2.2, 0.0, 0.0, 0.0, 0.0, 0.0), 1_124, 16.2,
        "2026-11-29: `balanced` with its judge, all nine thirds",
    ),
    Measured(False, 0, True, (12.1, 5.8, 42.3), 1_124, 5.7, _TEXT),
    Measured(False, 10, True, (6.6, 4.3, 16.6), 674, 5.8, _TEN),
    Measured(
        False, 193, False, (0.9, 3.6, 5.5, 15.3, 1.5, 0.0, 0.0, 1.6, 0.0), 1_124, 16.2,
        "2026-11-21, late: `accurate` with single words, all nine thirds",
    ),
)  # fmt: skip
"""One training of each word, or third of one; from text the mean of three. Models of 193 recordings
learnt from synthetic recordings of other words besides. What 20 or 50 recordings give, and a few without synthetic
ones, was not measured."""


@dataclass(frozen=True)
class Learnt:
    """What there is of a wake word to learn from."""

    label: str
    real: int
    speakers: int  # of the real recordings
    synthetic: int

    def __str__(self) -> str:
        real = f"{self.real:,} real recordings by {self.speakers:,} speakers" if self.real else "no real recording"
        synthetic = f"{self.synthetic:,} synthetic ones" if self.synthetic else "no synthetic one"
        return f"{self.label!r} has {real} to learn from and {synthetic}"


def learnt_words(health: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Learnt]:
    """Read off the table of a manifest's `health` what training has of each of the wake words `labels`."""
    rows = {row["label"]: row for row in health if row["split"] == "train"}
    nothing = {"recordings": 0, "real": 0, "real_speakers": 0}
    words = ((label, rows.get(label, nothing)) for label in labels)
    return [Learnt(label, row["real"], row["real_speakers"], row["recordings"] - row["real"]) for label, row in words]


def scarcest(words: Sequence[Learnt]) -> Learnt:
    """Find the word of which there is least: without synthetic recordings first, then with the fewest real ones."""
    return min(words, key=lambda word: (word.synthetic > 0, word.real))


def is_too_little(word: Learnt, least: int) -> bool:
    """Return whether a word has neither synthetic recordings nor the `least` number of real ones."""
    return not word.synthetic and word.real < least


def expectation(word: Learnt, judge: bool) -> str:
    """Say in a sentence what models that learnt from as much, with a judge or without, were measured to miss.

    It names the largest data set that was measured and is no larger, and the next one.
    """
    measured = [one for one in MEASURED if one.judge == judge]
    smaller = [one for one in measured if one.recordings <= word.real]
    larger = [one for one in measured if one.recordings > word.real]
    shown = smaller[-1:] + larger[:1]
    unknown = "; what so few give by themselves was not measured" if shown[0].synthetic > bool(word.synthetic) else ""
    return (
        f"{word}{unknown}; of three other words, models {'with' if judge else 'without'} a judge missed at 0.5 false "
        f"alarms an hour, {' and '.join(map(str, shown))}"
    )
