"""Temperature scaling: one number, fitted on validation, that makes scores mean what they say."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wakeword_core.evaluation.metrics import expected_calibration_error, negative_log_likelihood

log = logging.getLogger(__name__)

_LEAST_TEMPERATURE, _MOST_TEMPERATURE = 0.05, 20.0
"""Perfectly separated logits would be driven to certainty, and useless ones to indifference; neither is believed."""
_ITERATIONS = 100


@dataclass(frozen=True)
class Calibration:
    """A temperature and what it changed on the windows it was fitted on; `count` of them."""

    temperature: float
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    count: int


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Class probabilities [n, classes] of logits [n, classes] divided by the temperature."""
    values = np.asarray(logits, dtype=np.float64) / temperature
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """The temperature that minimises the NLL (Guo et al. 2017) of logits [n, classes] for class indices [n].

    Never one with a larger NLL than temperature 1, which is what stays when nothing better is found.
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if values.ndim != 2 or values.shape[:1] != truth.shape or not len(truth):
        raise ValueError(f"logits {list(values.shape)} and labels {list(truth.shape)} do not fit")
    if not np.isfinite(values).all():
        raise ValueError("logits must be finite")
    before = softmax(values)
    temperature = _minimise(values, truth)
    after = softmax(values, temperature)
    if not negative_log_likelihood(after, truth) < negative_log_likelihood(before, truth):
        log.info("no temperature is better than 1 on %d windows", len(truth))
        temperature, after = 1.0, before
    return Calibration(
        temperature=temperature,
        nll_before=negative_log_likelihood(before, truth),
        nll_after=negative_log_likelihood(after, truth),
        ece_before=expected_calibration_error(before, truth),
        ece_after=expected_calibration_error(after, truth),
        count=len(truth),
    )


def _minimise(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    import torch

    values, truth = torch.from_numpy(logits), torch.from_numpy(labels)
    # In log(temperature) the problem is smooth, nearly quadratic, and cannot leave the positive numbers.
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(values / log_temperature.exp(), truth)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    found = float(log_temperature.detach().exp())
    return float(np.clip(found, _LEAST_TEMPERATURE, _MOST_TEMPERATURE)) if np.isfinite(found) else 1.0
