"""How the words of a stream sound: what lies under them, from how far they come, and on which way they arrive."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from wakeword_core.config.evaluation import UNDER, WAYS, ConditionsConfig, Under, Way
from wakeword_core.errors import ConfigError

_RATIO = re.compile(r"(?:(\w+) )?(-?\d+(?:\.\d+)?) ?dB")
_FAR, _CLEAN = "far", "clean"


@dataclass(frozen=True)
class Condition:
    """Noise, speech or music `snr_db` below the word (None: nothing), the word `far` (through a room) or near.

    On its `way` to the model, all of it passes what is named there, such as a telephone; None: it arrives as it is.
    """

    snr_db: float | None
    far: bool = False
    under: Under = "noise"
    way: Way | None = None

    @property
    def name(self) -> str:
        """The name for people: "clean", "10 dB", "far, 10 dB", "speech 5 dB", "telephone, 10 dB"."""
        what = "" if self.under == "noise" else f"{self.under} "
        under = "" if self.snr_db is None else f"{what}{self.snr_db:g} dB"
        return ", ".join(filter(None, (self.way, _FAR if self.far else "", under))) or _CLEAN

    @classmethod
    def named(cls, name: str) -> "Condition":
        """Return the condition of a name for people; ConfigError where there is none."""
        parts = [part.strip() for part in name.split(",")]
        ratio = next(filter(None, map(_RATIO.fullmatch, parts)), None)
        under: Under = next((under for under in UNDER if ratio and ratio[1] == under), "noise")
        way = next((way for way in WAYS if way in parts), None)
        condition = cls(float(ratio[2]) if ratio else None, _FAR in parts, under, way)
        told = [part.replace("noise ", "").replace(" ", "") for part in parts]
        if sorted(told) != sorted(condition.name.replace(" ", "").split(",")):
            raise ConfigError(
                f"there is no condition {name!r}; one is {_CLEAN}, or of {_FAR}, {', '.join(WAYS)}, and noise under "
                f"the word (10 dB) or {' or '.join(f'{under} 10 dB' for under in UNDER[1:])}, separated by commas"
            )
        return condition


def target_conditions(conditions: ConditionsConfig) -> tuple[Condition, ...]:
    """Return the conditions that the headline miss rate and all tuning look at."""
    return _ordered(Condition(snr_db) for snr_db in conditions.tuning.snr_db)


def all_conditions(conditions: ConditionsConfig) -> tuple[Condition, ...]:
    """Return the conditions of the test, the targets among them.

    Near comes before far, and quiet before loud noise; then come other sound under the words, and ways.
    """
    test = conditions.test
    every = [Condition(snr_db) for snr_db in (*test.snr_db, *conditions.tuning.snr_db)]
    every += [Condition(snr_db, far=True) for snr_db in test.far_snr_db]
    every += [Condition(snr_db, under="speech") for snr_db in test.speech_db]
    every += [Condition(snr_db, under="music") for snr_db in test.music_db]
    return _ordered([*every, *(Condition(None, way=way) for way in test.ways)])


def _ordered(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    def place(condition: Condition) -> tuple[int, int, bool, bool, float]:
        way = 1 + WAYS.index(condition.way) if condition.way else 0
        noise = condition.snr_db
        return way, UNDER.index(condition.under), condition.far, noise is not None, -(noise or 0.0)

    return tuple(sorted(dict.fromkeys(conditions), key=place))
