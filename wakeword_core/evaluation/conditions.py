"""The conditions a wake word is tested in: how much noise, and whether across a room."""

from collections.abc import Iterable
from dataclasses import dataclass

from wakeword_core.config import Config


@dataclass(frozen=True)
class Condition:
    """Noise `snr_db` below the word (None: clean), the word `far` (through a room) or near."""

    snr_db: float | None
    far: bool = False

    @property
    def name(self) -> str:
        """For people: "clean", "10 dB", "far", "far, 10 dB"."""
        noise = "" if self.snr_db is None else f"{self.snr_db:g} dB"
        return ", ".join(part for part in ("far" if self.far else "", noise) if part) or "clean"


def target_conditions(config: Config) -> tuple[Condition, ...]:
    """What the headline miss rate and all tuning look at."""
    return _ordered(Condition(snr_db) for snr_db in config.evaluation.target_snr_db)


def all_conditions(config: Config) -> tuple[Condition, ...]:
    """Everything the test looks at, the targets among it: near before far, from quiet to loud noise."""
    evaluation = config.evaluation
    near = [Condition(snr_db) for snr_db in (*evaluation.stream_snr_db, *evaluation.target_snr_db)]
    return _ordered([*near, *(Condition(snr_db, far=True) for snr_db in evaluation.far_snr_db)])


def _ordered(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(
        sorted(dict.fromkeys(conditions), key=lambda one: (one.far, one.snr_db is not None, -(one.snr_db or 0.0)))
    )
