"""Scores that mean what they say: temperature, vector scaling or an increasing curve, fitted on validation."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.evaluation.measure.metrics import expected_calibration_error, negative_log_likelihood

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.05, 20.0
"""Useless logits would be driven to indifference, which is not believed; certainty is bounded as follows."""
_MOST_LOG_ODDS = 15.0
"""Logits that separate validation perfectly would be sharpened without end, until single precision rounds the scores
of words and of the worst false alarms to 1 alike. So nothing is sharpened until a window is surer of a wake word than
these log-odds (1 - 3e-7); where one is already, nothing is sharpened at all."""
_MOST_SHIFT = 20.0
_PLATEAU_SLOPE = 0.02
_MOST_SLOPE = 1 / _LEAST_TEMPERATURE
_ITERATIONS = 100
_SAME_VALUE_PLACES = 12
"""Decimal places to which the windows of one step of isotonic regression are equal."""

Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]
Parameters = dict[str, Any]


@dataclass(frozen=True)
class Calibration:
    """A method, its parameters (see `models.calibrators`) and what it changed on the `count` windows it was fitted on.

    Bins of the adaptive ECE hold equally many windows.
    """

    method: str
    parameters: Parameters
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    adaptive_ece_before: float
    adaptive_ece_after: float
    count: int


def softmax(logits: ArrayLike) -> Doubles:
    """Return class probabilities [n, classes] of logits [n, classes], not calibrated."""
    values = np.asarray(logits, dtype=np.float64)
    values = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities: Doubles = values / values.sum(axis=1, keepdims=True)
    return probabilities


def calibrated(logits: ArrayLike, method: str, parameters: Mapping[str, Any]) -> Doubles:
    """Return class probabilities [n, classes] of logits [n, classes] as a model with this calibration gives them."""
    import torch

    from wakeword_core.models.calibrators import new_calibrator

    values = np.asarray(logits, dtype=np.float64)
    with torch.inference_mode():
        changed = new_calibrator(method, values.shape[1], parameters).double()(torch.from_numpy(values))
    return softmax(changed.numpy())


def fit_calibration(logits: ArrayLike, labels: ArrayLike, method: str = "temperature") -> Calibration:
    """Fit the calibration of `method` that minimises the NLL of raw logits [n, classes] for class indices [n].

    Never one with a larger NLL than none; what changes nothing stays when nothing better is found. `temperature` and
    `vector` scaling are those of Guo et al. (2017), fitted by L-BFGS; `isotonic` is explained at `_fit_curve`.
    """
    from wakeword_core.models.calibrators import new_calibrator

    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if values.ndim != 2 or values.shape[:1] != truth.shape or not len(truth):
        raise ValueError(f"logits {list(values.shape)} and labels {list(truth.shape)} do not fit")
    if not np.isfinite(values).all():
        raise ValueError("logits must be finite")

    def loss(parameters: Parameters) -> float:
        return negative_log_likelihood(calibrated(values, method, parameters), truth)

    # of equals the first is taken: what changes nothing, else the simpler
    candidates: list[Parameters] = [{}, *(_FITS[method](values, truth))]
    losses = [loss(parameters) for parameters in candidates]
    best = int(np.argmin(losses))
    if best == 0:
        log.info("no %s calibration is better than none on %d windows", method, len(truth))
    before, after = softmax(values), calibrated(values, method, candidates[best])
    fitted = new_calibrator(method, values.shape[1], candidates[best]).state_dict()
    return Calibration(
        method=method,
        parameters={name: parameter.tolist() for name, parameter in fitted.items()},
        nll_before=losses[0],
        nll_after=losses[best],
        ece_before=expected_calibration_error(before, truth),
        ece_after=expected_calibration_error(after, truth),
        adaptive_ece_before=expected_calibration_error(before, truth, adaptive=True),
        adaptive_ece_after=expected_calibration_error(after, truth, adaptive=True),
        count=len(truth),
    )


def _fit_temperature(logits: Doubles, labels: Labels) -> list[Parameters]:
    return [{"temperature": _temperature(logits, labels)}]


def _fit_vector(logits: Doubles, labels: Labels) -> list[Parameters]:
    import torch

    scale, classes = 1 / _temperature(logits, labels), logits.shape[1]
    # in log(scale) no order of scores can be turned round, nor in a temperature's logarithm
    numbers = torch.cat([torch.full((classes,), np.log(scale)), torch.zeros(classes)]).double()
    values = torch.from_numpy(logits)
    fitted = _minimise(numbers, lambda at: values * at[:classes].exp() - at[classes:], labels)
    scales = np.clip(np.exp(fitted[:classes]), 1 / _MOST_TEMPERATURE, 1 / _LEAST_TEMPERATURE)
    shifts = np.clip(fitted[classes:] - fitted[classes], -_MOST_SHIFT, _MOST_SHIFT)  # only differences have an effect
    allowed = max(_MOST_LOG_ODDS, _surest(logits))
    tamed = min(1.0, allowed / max(_surest(logits * scales - shifts), allowed))
    scales, shifts = scales * tamed, shifts * tamed
    return [{"scale": [scale] * classes}, {"scale": scales.tolist(), "shift": shifts.tolist()}]


def _temperature(logits: Doubles, labels: Labels) -> float:
    import torch

    values = torch.from_numpy(logits)
    # In log(temperature) the problem is smooth, nearly quadratic, and cannot leave the positive numbers.
    fitted = _minimise(torch.zeros(1, dtype=torch.float64), lambda at: values / at.exp(), labels)
    # below it some window would become surer than is allowed; 1 where one already is
    least = np.clip(_surest(logits) / _MOST_LOG_ODDS, _LEAST_TEMPERATURE, 1.0)
    return float(np.clip(np.exp(fitted[0]), least, _MOST_TEMPERATURE))


def _surest(logits: Doubles) -> float:
    """Return the largest log-odds of a wake word against the next likely class; sure negatives may round to 0."""
    words = logits[:, 1:].max(axis=1)
    ranked = np.sort(logits, axis=1)
    others = np.where(words >= ranked[:, -1], ranked[:, -2], ranked[:, -1])
    return float((words - others).max())


def _minimise(start: "Tensor", changed: Callable[["Tensor"], "Tensor"], labels: Labels) -> Doubles:
    """Find by L-BFGS, from `start` on, the numbers with which the logits `changed(numbers)` have the least NLL."""
    import torch

    truth = torch.from_numpy(labels)
    numbers = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([numbers], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(changed(numbers), truth)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    fitted: Doubles = numbers.detach().numpy()
    return fitted if np.isfinite(fitted).all() else start.numpy()


def _fit_curve(logits: Doubles, labels: Labels) -> list[Parameters]:
    """Fit whether a wake word was said to its log-odds by isotonic regression (Zadrozny & Elkan 2002).

    Its targets are Platt's (1999), short of 0 and 1 by what so many windows cannot rule out. Its steps are joined by
    straight lines in log-odds, from the middle of one to that of the next (centered isotonic regression, Oron &
    Flournoy 2017), and the whole by a fixed number of segments of equal rise. What still is level, above all beyond
    the outermost steps where the best scores are, would make unlike scores equal and hide their order from the choice
    of a threshold. So the curve is mixed with the plain log-odds, of which it keeps a share of at least
    `_PLATEAU_SLOPE`: the slope that a plateau is left with. The share is the one with the least NLL; as that is convex
    in the log-odds, mixing cannot make a good curve worse than none.
    """
    from scipy.optimize import minimize_scalar

    # the ratios between the words stay, so the NLL changes as that of this one decision does
    odds = np.logaddexp.reduce(logits[:, 1:], axis=1) - logits[:, 0]
    sign = np.where(labels > 0, 1.0, -1.0)
    lows, widths, bottom, rise = _segments(odds, labels > 0)
    curve = bottom + rise * np.clip((odds[:, None] - lows) / widths, 0, 1).sum(axis=1)

    def loss(share: float) -> float:
        return float(np.logaddexp(0, -sign * (share * curve + (1 - share) * odds)).mean())

    most = 1 - _PLATEAU_SLOPE
    shares = [float(minimize_scalar(loss, bounds=(0, most), method="bounded").x), most]
    segments = {"lows": lows.tolist(), "widths": widths.tolist()}
    return [{**segments, "rise": share * rise, "slope": 1 - share, "drop": -share * bottom} for share in shares]


def _segments(odds: Doubles, spoken: NDArray[np.bool_]) -> tuple[Doubles, Doubles, float, float]:
    """Return where each segment begins, how wide it is, the value where the first begins, and the rise of each."""
    from sklearn.isotonic import IsotonicRegression

    from wakeword_core.models.calibrators import CURVE_SEGMENTS

    least, most = 1 / ((~spoken).sum() + 2), 1 - 1 / (spoken.sum() + 2)
    fitted = IsotonicRegression().fit_transform(odds, np.where(spoken, most, least))
    values, block = np.unique(np.round(fitted, _SAME_VALUE_PLACES), return_inverse=True)
    centres = np.bincount(block, weights=odds) / np.bincount(block)
    heights = np.log(values / (1 - values))
    rise = float(np.ptp(heights)) / CURVE_SEGMENTS
    if rise == 0:
        return np.full(CURVE_SEGMENTS, centres[0]), np.ones(CURVE_SEGMENTS), float(heights[0]), 0.0
    places = np.interp(np.linspace(heights[0], heights[-1], CURVE_SEGMENTS + 1), heights, centres)
    widths = np.maximum(np.diff(places), rise / _MOST_SLOPE)
    return places[0] + np.cumsum(widths) - widths, widths, float(heights[0]), rise


_FITS: dict[str, Callable[[Doubles, Labels], list[Parameters]]] = {
    "temperature": _fit_temperature,
    "vector": _fit_vector,
    "isotonic": _fit_curve,
}
