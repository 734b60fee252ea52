"""Calibration, detector and operating points of a trained model, all set on validation and never on the test split."""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wakeword_core.config import Config, DetectorConfig, EvaluationConfig, FrontendConfig
from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.evaluation.measure.calibration import calibrated, fit_calibration, softmax
from wakeword_core.evaluation.measure.clips import clip_logits
from wakeword_core.evaluation.measure.intervals import wilson_interval
from wakeword_core.evaluation.measure.plots import reliability_diagram
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.handicaps import equal_shares
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.scores import StreamScorer, StreamScores, score_streams
from wakeword_core.evaluation.streams.tail import validation_tradeoff
from wakeword_core.evaluation.streams.thresholds import Choice, OperatingPoint, headline, recordings
from wakeword_core.features.mel import new_front_end
from wakeword_core.files import as_type, read_json, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.detector import handicaps_of

if TYPE_CHECKING:
    from wakeword_core.models.scoring import ScoringModel

log = logging.getLogger(__name__)

_TUNED = ("smoothing", "votes", "hold", "off_ratio")
_BATCH = 64
_DIGITS = 9
_ALIKE = 10.0**-_DIGITS
"""Miss rates are counts over the same words: what differs by less is rounding."""
_STANDARD_ERROR = 0.6827
"""The confidence of an interval that reaches one standard error to each side."""
OPERATING_POINT = "operating_point.json"
_ON_THE_CARD = (
    "threshold", "target_fah", "frr", "frr_interval", "fah", "fah_interval", "reachable", "background_hours",
)  # fmt: skip


@dataclass(frozen=True)
class OperatingPoints:
    """A detector, its operating points by name, and the name of the default one."""

    name: str
    detector: DetectorConfig
    points: Mapping[str, OperatingPoint]
    origins: Origins
    """What of the streams that they were chosen on is real."""
    handicaps: Mapping[str, float] = field(default_factory=dict)
    """What the odds of each wake word's scores are divided by; none where the threshold is the same for all."""

    @property
    def default(self) -> OperatingPoint:
        """The operating point that is used unless another is named."""
        return self.points[self.name]

    def save(self, folder: Path) -> None:
        """Write `operating_point.json`: the default point's fields, its name, the detector, and all points."""
        tree = {
            **asdict(self.default),
            "name": self.name,
            "detector": self.detector.model_dump(mode="json"),
            "points": {name: asdict(point) for name, point in self.points.items()},
            "origins": asdict(self.origins),
            **self._handicaps(),
        }
        write_json(folder / OPERATING_POINT, tree)

    @classmethod
    def load(cls, folder: Path) -> "OperatingPoints":
        """Read what `save` wrote; ArtifactError if it is not that."""
        path = folder / OPERATING_POINT
        try:
            tree = read_json(path)
            detector = DetectorConfig.model_validate(tree["detector"])
            points = as_type(dict[str, OperatingPoint], tree["points"])
            if tree["name"] not in points:
                raise ValueError(f"{tree['name']!r} is not among them")
            ordered = dict(sorted(points.items(), key=lambda named: named[1].target_fah))
            origins, handicaps = as_type(Origins, tree["origins"]), as_type(dict[str, float], tree.get("handicaps", {}))
            return cls(tree["name"], detector, ordered, origins, handicaps)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} holds no operating points ({reason_of(error)}); build calibrated_model again"
            ) from error

    def card(self) -> dict[str, Any]:
        """Return what a device needs, for the exported model's card."""
        return {
            "detector": self.detector.model_dump(mode="json"),
            "threshold": self.default.threshold,
            "operating_point": self.name,
            "operating_points": {
                name: {key: value for key, value in asdict(point).items() if key in _ON_THE_CARD}
                for name, point in self.points.items()
            },
            **self._handicaps(),
        }

    def _handicaps(self) -> dict[str, Any]:
        return {"handicaps": dict(self.handicaps)} if self.handicaps else {}


@dataclass(frozen=True)
class Tuning:
    """The detector to use, how many were tried, and the FRR at the default operating point of both."""

    detector: DetectorConfig
    tried: int
    configured_frr: float
    tuned_frr: float


def calibrate_model(
    model_folder: Path,
    features: Path,
    shards: Path,
    config: Config,
    out: Path,
    progress: Progress = silent,
    synthetic: Collection[str] = (),
) -> dict[str, Any]:
    """Write the calibrated model, `calibration.json`, `operating_point.json` and `reliability.png`; returns figures.

    `features` and `shards` are of the validation split: the first sets the calibration, the second, as continuous
    audio in the target conditions, the detector's parameters and the thresholds of `operating_points.points`.
    `synthetic` are the sources that no person was recorded for.
    """
    from wakeword_core.models.scoring import load_model, save_model

    logits, labels = clip_logits(model_folder, features)
    calibration = fit_calibration(logits, labels, config.evaluation.calibration.method)
    model, card = load_model(model_folder)
    model.set_calibrator(calibration.method, calibration.parameters)
    save_model(out, model, card)
    write_json(out / "calibration.json", asdict(calibration))
    before, after = softmax(logits), calibrated(logits, calibration.method, calibration.parameters)
    (out / "reliability.png").write_bytes(reliability_diagram(before, after, labels))
    evaluation = config.evaluation
    scorer = torch_scorer(model, config.features.frontend, config.data.audio.sample_rate, evaluation.detector)
    targets = target_conditions(evaluation.conditions)
    scores = score_streams(scorer, shards, config, progress, targets, short_phrases=False, synthetic=synthetic)
    chosen, tuning = choose_operating_points(scores, evaluation, progress)
    chosen.save(out)
    default = asdict(chosen.default)
    return {
        **{name: value for name, value in asdict(calibration).items() if name != "parameters"},
        **{f"val_{name}": list(value) if isinstance(value, tuple) else value for name, value in default.items()},
        "val_words": chosen.origins.words,
        "val_real_words": chosen.origins.real_words,
        "val_real_background_hours": chosen.origins.real_background_hours,
        "detectors_tried": tuning.tried,
        "val_frr_before_tuning": tuning.configured_frr,
        "detector": chosen.detector.model_dump(mode="json"),
        "operating_points": [
            {"name": name, **{figure: getattr(point, figure) for figure in ("target_fah", "threshold", "frr", "fah")}}
            for name, point in chosen.points.items()
        ],
    }


def choose_operating_points(
    scores: StreamScores, evaluation: EvaluationConfig, progress: Progress = silent
) -> tuple[OperatingPoints, Tuning]:
    """Choose detector, handicaps and the threshold of every operating point on scores of validation's streams."""
    tuning, settings = tune_detector(scores, evaluation, progress), evaluation.operating_points
    handicaps = choose_handicaps(scores, evaluation, tuning.detector)
    heard = scores.lowered(handicaps_of(scores.labels, handicaps))
    points = validation_tradeoff(heard, evaluation, tuning.detector).points(settings.points)
    chosen = OperatingPoints(settings.default, tuning.detector, points, Origins.of(scores), handicaps)
    log.info("threshold %.4g of %s: %s", chosen.default.threshold, chosen.name, chosen.default.note)
    return chosen, tuning


def choose_handicaps(scores: StreamScores, evaluation: EvaluationConfig, detector: DetectorConfig) -> dict[str, float]:
    """Return what gives each of several wake words a threshold of its own, if that misses fewer words in all.

    A difference of less than a recording is chance, as for the detector: then the threshold is the same for all.
    """
    if len(scores.labels) <= 2:
        return {}
    handicaps, target = equal_shares(scores, evaluation, detector), evaluation.allowed_fah
    same, own = (
        validation_tradeoff(heard, evaluation, detector).choose(target)
        for heard in (scores, scores.lowered(handicaps_of(scores.labels, handicaps)))
    )
    if _misses(same) <= _most_misses([same, own], scores, evaluation):
        log.info("all wake words have the same threshold: one for each would miss no fewer words of validation")
        return {}
    log.info(
        "each wake word has a threshold of its own, which misses %.2f %% of the words (the same for all: %.2f %%)",
        *(100 * own.point.frr, 100 * same.point.frr),
    )
    return handicaps


def torch_scorer(
    model: "ScoringModel", frontend: FrontendConfig, sample_rate: int, detector: DetectorConfig
) -> StreamScorer:
    """Return a scorer of streams through torch: it gives what the exported model will give, before there is one."""
    import torch

    from wakeword_core.runtime import window_scores
    from wakeword_core.runtime.exported import stride_frames

    front_end = new_front_end(frontend, sample_rate)
    stride = stride_frames(detector, frontend, sample_rate)

    def score_windows(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        clamped = torch.from_numpy(np.ascontiguousarray(front_end.clamp(windows)))
        with torch.inference_mode():
            scores: npt.NDArray[np.float32] = model(clamped).numpy()
        return scores

    def score(pcm: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        ends, scores = window_scores(
            front_end(pcm), front_end.silence(frontend.window_frames - 1), stride, score_windows, _BATCH
        )
        return (ends * frontend.hop_length + frontend.n_fft) / sample_rate, scores

    return score


def tune_detector(scores: StreamScores, evaluation: EvaluationConfig, progress: Progress = silent) -> Tuning:
    """Choose the detector of `evaluation.tuning` that misses fewest words at the default operating point.

    A difference of less than a recording is chance with so little data. Where all words are synthetic, so is one within
    a standard error (the rule of Breiman et al. 1984), since they say little of people. Of equals the one that rests on
    the most scores is taken, because a sound that is only for a moment like the word is then no alarm; then the one
    with the lower FRR at stricter points, then with the wider margin in logits between the strongest alarm and the
    weakest word around its threshold, then the nearest to the configured one.
    """
    detectors, target = list(candidates(evaluation)), evaluation.allowed_fah
    choices: dict[DetectorConfig, Choice] = {}
    for number, detector in enumerate(detectors):
        choices[detector] = validation_tradeoff(scores, evaluation, detector).choose(target)
        progress("tuning the detector", number + 1, len(detectors))
    most = _most_misses(choices.values(), scores, evaluation)
    equals = [detector for detector, choice in choices.items() if _misses(choice) <= most]
    longest = max(map(_rests_on, equals))
    equals = [detector for detector in equals if _rests_on(detector) == longest]
    configured, chosen = detectors[0], equals[0]
    if len(equals) > 1:
        chosen = min(equals, key=lambda detector: _preference(detector, choices[detector], scores, evaluation))
    tuning = Tuning(chosen, len(detectors), choices[configured].point.frr, choices[chosen].point.frr)
    changed = [f"{name} {value}" for name, value in chosen if value != getattr(configured, name)]
    log.info(
        "%d detectors were tried on validation; the one with %s is used, which misses %.2f %% of the words (the "
        "configured one: %.2f %%)",
        *(tuning.tried, ", ".join(changed) or "the configured settings"),
        *(100 * tuning.tuned_frr, 100 * tuning.configured_frr),
    )
    return tuning


def candidates(evaluation: EvaluationConfig) -> Iterator[DetectorConfig]:
    """Yield the configured detector, then every other one of the grid that is quick enough, none twice."""
    tuning, configured = evaluation.tuning, evaluation.detector
    yield configured
    if not tuning.enabled:
        return
    seen = {configured}
    most = round(tuning.longest_seconds / configured.stride_seconds, _DIGITS)
    for smoothing, votes, hold, off_ratio in product(tuning.smoothing, tuning.votes, tuning.hold, tuning.off_ratio):
        # one score is its own mean and its own vote
        counted = 0 if smoothing == 1 else votes
        changes = {"smoothing": smoothing, "votes": counted, "hold": hold, "off_ratio": off_ratio}
        detector = configured.model_copy(update=changes)
        if votes <= smoothing and smoothing + hold - 1 <= most and detector not in seen:
            seen.add(detector)
            yield detector


def _misses(choice: Choice) -> tuple[bool, float]:
    """Return whether the target is out of reach (then false alarms come first), and how much is missed."""
    return not choice.reachable, choice.point.frr if choice.reachable else choice.lowest_fah


def _most_misses(choices: Collection[Choice], scores: StreamScores, evaluation: EvaluationConfig) -> tuple[bool, float]:
    """Return up to which misses a choice is level with the best; where the target is out of reach, only with as few."""
    beyond, least = min(map(_misses, choices))
    return beyond, least + _ALIKE if beyond else level_with(least, scores, evaluation)


def level_with(least: float, scores: StreamScores, evaluation: EvaluationConfig) -> float:
    """Return up to which share of misses on these streams is level with the `least`: a smaller excess is chance."""
    words = recordings(headline(scores, evaluation.conditions))
    most = least + (1 - _ALIKE * words) / words
    if not Origins.of(scores).real_words:
        most = max(most, wilson_interval(least * words, words, _STANDARD_ERROR).high)
    return most


def _rests_on(detector: DetectorConfig) -> int:
    """Return how many scores have to speak for a detection: those in the mean, or the votes, each of them held."""
    return (detector.votes or detector.smoothing) + detector.hold - 1


def _preference(
    detector: DetectorConfig, choice: Choice, scores: StreamScores, evaluation: EvaluationConfig
) -> tuple[float, float, int, float]:
    """Return what orders equals: misses at stricter points, the margin, and the distance from the configured one."""
    stricter = [target for target in evaluation.operating_points.points.values() if target < evaluation.allowed_fah]
    tradeoff = validation_tradeoff(scores, evaluation, detector)
    missed = sum(tradeoff.choose(target).point.frr for target in stricter)
    steps = [abs(getattr(detector, name) - getattr(evaluation.detector, name)) for name in _TUNED]
    return round(missed, _DIGITS), -choice.margin, sum(step > 0 for step in steps), float(sum(steps))
