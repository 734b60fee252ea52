"""What validation chose, as it is stored beside the calibrated model and in the exported one's card."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError
from wakeword_core.evaluation.intervals import Interval
from wakeword_core.evaluation.thresholds import OperatingPoint
from wakeword_core.files import read_json, write_json

OPERATING_POINT = "operating_point.json"
_ON_THE_CARD = (
    "threshold",
    "target_fah",
    "frr",
    "frr_interval",
    "fah",
    "fah_interval",
    "reachable",
    "background_hours",
)


@dataclass(frozen=True)
class Sensitivities:
    """A detector, its operating points by name, and the name of the one that is used unless another is asked for."""

    name: str
    detector: DetectorConfig
    points: Mapping[str, OperatingPoint]

    @property
    def default(self) -> OperatingPoint:
        """The operating point that is used unless another is asked for."""
        return self.points[self.name]

    def save(self, folder: Path) -> None:
        """Write `operating_point.json`: the default point's fields, its name, the detector, and all points."""
        tree = {
            **asdict(self.default),
            "name": self.name,
            "detector": self.detector.model_dump(mode="json"),
            "points": {name: asdict(point) for name, point in self.points.items()},
        }
        write_json(folder / OPERATING_POINT, tree)

    @classmethod
    def load(cls, folder: Path) -> "Sensitivities":
        """Read what `save` wrote; ArtifactError if it is not that."""
        path = folder / OPERATING_POINT
        try:
            tree = read_json(path)
            detector = DetectorConfig.model_validate(tree["detector"])
            points = {str(name): _point(stored) for name, stored in tree["points"].items()}
            if tree["name"] not in points:
                raise ValueError(f"{tree['name']!r} is not among them")
            return cls(tree["name"], detector, dict(sorted(points.items(), key=lambda one: one[1].target_fah)))
        except (OSError, AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
            raise ArtifactError(f"{path} holds no operating points ({error}); build calibrated_model again") from error

    def card(self) -> dict[str, Any]:
        """What a device needs, for the exported model's card."""
        return {
            "detector": self.detector.model_dump(mode="json"),
            "threshold": self.default.threshold,
            "operating_point": self.name,
            "operating_points": {
                name: {key: value for key, value in asdict(point).items() if key in _ON_THE_CARD}
                for name, point in self.points.items()
            },
        }


def _point(stored: Mapping[str, Any]) -> OperatingPoint:
    values = {one.name: stored[one.name] for one in fields(OperatingPoint)}
    intervals = {name: Interval(*values[name]) for name in ("frr_interval", "fah_interval")}
    return OperatingPoint(**{**values, **intervals})
