"""How weights move: optimizers, clipped gradients, the average of the weights, and the learning rate."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import ScheduleConfig, TrainingConfig
from wakeword_core.config.training import EmaConfig, OptimizerConfig

CLASSIFIER = "classifier"
"""Name of the last layer in every backbone, which AdamW moves even where Muon moves other matrices."""

Named = list[tuple[str, nn.Parameter]]
Parameters = list[nn.Parameter]
Model = TypeVar("Model", bound=nn.Module)
Scores = Sequence[tuple[float, ...]]
ONE_CYCLE_START = 25.0
ONE_CYCLE_END = 1e4
"""The peak over the first rate of a cycle, and the first rate over the last (Smith and Topin 2018)."""
USUAL_STEPS = 100
"""The usual norm is the median of so many steps before."""
_FEWEST_STEPS = 10
"""So many steps have to be known before anything is unusual."""


class Clipper:
    """Clips gradients, and remembers the norms of the last steps where the limit follows from them."""

    def __init__(self, optimizer: OptimizerConfig, device: torch.device | str) -> None:
        self._fixed, self._factor = optimizer.clip_norm, optimizer.adaptive_clip
        self.norms = torch.zeros(0, device=device)
        """of the last steps, at most USUAL_STEPS: what is to be restored"""
        self.clipped = torch.zeros((), dtype=torch.bool, device=device)
        """whether the last gradients were scaled down"""

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Scale gradients down to the limit; returns their norm before that, a scalar on the device.

        The limit is `clip_norm`, and with `adaptive_clip` that many times the median norm, where that is lower.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        limit = torch.as_tensor(self._fixed, device=norm.device)
        if self._factor > 0:
            if len(self.norms):
                limit = torch.minimum(limit, self._factor * self.norms.median())
            # of a broken step nothing is learned about what is usual
            latest = torch.where(norm.isfinite(), norm, limit)
            self.norms = torch.cat([self.norms[1 - USUAL_STEPS :], latest[None]])
        self.clipped = norm > limit
        scale = (limit / (norm + torch.finfo(norm.dtype).tiny)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
        return norm


def largest_jump(norms: Tensor) -> float | None:
    """Say how many times the usual norm the most unusual of an epoch's `norms` [steps] is; None for too few steps.

    What is usual at a step is the median of the steps before it.
    """
    before = norms.cpu()
    jumps = [
        float(before[step] / before[max(0, step - USUAL_STEPS) : step].median())
        for step in range(_FEWEST_STEPS, len(before))
    ]
    return max((jump for jump in jumps if math.isfinite(jump)), default=None)


class Optimizers:
    """One optimizer, or two that share the weights between them, as one."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer], matrices: "Matrices | None" = None) -> None:
        self._parts, self._matrices = list(parts), matrices

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        rate: float = self._parts[0].param_groups[0]["lr"]
        return rate

    @rate.setter
    def rate(self, rate: float) -> None:
        for group in self.groups:
            group["lr"] = rate

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all of them."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)
        if self._matrices is not None:
            self._matrices.forget()

    def step(self, clip: Clipper, scaler: GradScaler) -> Tensor:
        """Move the weights by their gradients, which are scaled back and clipped before; returns their norm."""
        if self._matrices is not None:
            self._matrices.take_gradients()
        if scaler.is_enabled() and len(self._parts) > 1:
            self._spread_broken_gradients()
        for part in self._parts:
            scaler.unscale_(part)
        norm = clip(parameter for group in self.groups for parameter in group["params"])
        for part in self._parts:
            scaler.step(part)
        scaler.update()
        return norm

    def _spread_broken_gradients(self) -> None:
        """A scaler skips the step of an optimizer whose gradients are not finite; with this, of all of them."""
        parameters = [parameter for group in self.groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        broken = ~nn.utils.get_total_norm(gradients, norm_type=torch.inf).isfinite()  # squares may overflow
        torch._foreach_add_(gradients, torch.where(broken, torch.inf, 0.0))

    def tensors(self) -> dict[str, Tensor]:
        """Give the state of every parameter as named tensors: `<optimizer>.<parameter>.<name>`."""
        return {
            f"{number}.{index}.{name}": torch.as_tensor(value)
            for number, part in enumerate(self._parts)
            for index, values in part.state_dict()["state"].items()
            for name, value in values.items()
            if value is not None  # of SGD without momentum
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave; groups and their settings stay as configured."""
        for number, part in enumerate(self._parts):
            parameters = [parameter for group in part.param_groups for parameter in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                of, index, name = key.split(".", 2)
                if int(of) == number:
                    state.setdefault(int(index), {})[name] = _in_layout_of(parameters[int(index)], value)
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _in_layout_of(parameter: Tensor, value: Tensor) -> Tensor:
    """Moments in their parameter's memory format, which fused kernels rely on; files hold them without gaps."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


class Matrices:
    """Weights of convolutions and linear layers as matrices [outputs, inputs * taps], in the same memory."""

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        self._pairs = [(weight, nn.Parameter(weight.data.view(len(weight), -1))) for weight in weights]
        self.parameters = [matrix for _, matrix in self._pairs]

    def take_gradients(self) -> None:
        """Hand the gradients of the weights to the matrices."""
        for weight, matrix in self._pairs:
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)

    def forget(self) -> None:
        """Forget the gradients."""
        for weight, matrix in self._pairs:
            weight.grad = matrix.grad = None


def make_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], training: TrainingConfig, undecayed: Iterable[nn.Parameter] = ()
) -> Optimizers:
    """Make what `optimizer.kind` says for (name, parameter); norms, biases and `undecayed` ones are not decayed."""
    named, undecayed = list(named), list(undecayed)
    optimizer, rate = training.optimizer, training.schedule.peak
    decay, momentum = optimizer.weight_decay, optimizer.momentum
    groups = _decay_groups(named, undecayed, decay)
    match optimizer.kind:
        case "adamw":  # Loshchilov and Hutter 2019
            return Optimizers([torch.optim.AdamW(groups, lr=rate, fused=True)])
        case "adam":  # Kingma and Ba 2015, whose decay is part of the gradient
            return Optimizers([torch.optim.Adam(groups, lr=rate, fused=True)])
        case "sgd":  # with Nesterov's momentum (Sutskever et al. 2013) where it has any
            return Optimizers([torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)])
    # Muon (Jordan et al. 2024) for the matrices before the last layer, AdamW for all else. Rates are matched to AdamW's
    # by their root mean square (Liu et al. 2025), so that one schedule serves both. Weights of depthwise convolutions
    # are no matrices: each of their filters is by itself.
    matrices = Matrices(weight for name, weight in named if _is_matrix(name, weight))
    rest = _decay_groups([(name, weight) for name, weight in named if not _is_matrix(name, weight)], undecayed, decay)
    settings: dict[str, Any] = {"lr": rate, "weight_decay": decay, "momentum": momentum, "nesterov": True}
    parts: list[torch.optim.Optimizer] = []
    if matrices.parameters:
        parts.append(torch.optim.Muon(matrices.parameters, adjust_lr_fn="match_rms_adamw", **settings))
    if rest:
        parts.append(torch.optim.AdamW(rest, lr=rate, fused=True))
    return Optimizers(parts, matrices)


def _decay_groups(named: Named, undecayed: Parameters, decay: float) -> list[dict[str, Any]]:
    weights = [tensor for name, tensor in named if _is_weight(name, tensor)]
    others = [tensor for name, tensor in named if not _is_weight(name, tensor)] + undecayed
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _is_weight(name: str, parameter: nn.Parameter) -> bool:
    """Whether it is no norm's and no bias, of whatever shape: attention has some of two dimensions."""
    return parameter.ndim > 1 and name.rsplit(".", 1)[-1] != "bias"


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    return _is_weight(name, weight) and weight.shape[1] > 1 and CLASSIFIER not in name.split(".")


def ramped_decay(decay: float, step: int) -> float:
    """Compute the decay of the 0-based `step`: small at first, to forget the random initial weights soon."""
    return min(decay, (1 + step) / (10 + step))


def ema_decay(step: int, total_steps: int, ema: EmaConfig) -> float:
    """Compute the decay at the 0-based `step`: `ramped_decay`, which rises to `final_decay` at the end.

    It rises over the last `final_fraction` of the steps, from where the ramp is by then, to the final decay however
    short the training is.
    """
    if ema.final_decay is None:
        return ramped_decay(ema.decay, step)
    begin = total_steps * (1.0 - ema.final_fraction)
    decay = ramped_decay(ema.decay, min(step, int(begin)))
    if step > begin:
        decay += (ema.final_decay - decay) * min((step - begin) / max(total_steps - 1 - begin, 1), 1.0)
    return decay


def averaged_copy(model: Model) -> Model:
    """Make a frozen copy of the model in eval mode, to be moved by `update_average`."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` towards `model`: average = decay * average + (1 - decay) * model.

    The running statistics of batch norms are averaged like the weights they belong to; counters are copied.
    """
    target = model.state_dict()
    pairs = [(averaged, target[name]) for name, averaged in average.state_dict().items()]
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([averaged for averaged, _ in floating], [latest for _, latest in floating], 1.0 - decay)
    for averaged, latest in pairs:
        if not averaged.is_floating_point():
            averaged.copy_(latest)


def learning_rate(step: int, total_steps: int, schedule: ScheduleConfig, scores: Scores = ()) -> float:
    """Compute the learning rate of the 0-based `step`: a warm-up to the peak, then what `schedule.kind` says.

    The warm-up is linear, of a one-cycle schedule a cosine, over `warmup_fraction` of the steps. `scores` are those of
    the epochs so far, of which `plateau` makes its drops. It depends on nothing else, so nothing needs to be restored.
    """
    if schedule.kind == "one_cycle":
        return schedule.peak * _one_cycle(step, total_steps, schedule.warmup_fraction)
    warmup = round(schedule.warmup_fraction * total_steps)
    if step < warmup:
        return schedule.peak * (step + 1) / warmup
    progress = min((step - warmup) / max(total_steps - 1 - warmup, 1), 1.0)
    match schedule.kind:
        case "cosine":
            factor = _half_cosine(1.0, schedule.final_lr_fraction, progress)
        case "step":
            factor = schedule.drop_factor ** sum(progress >= place for place in schedule.drop_at)
        case "plateau":
            factor = schedule.drop_factor ** plateau_drops(scores, schedule.plateau_patience)
        case "constant":
            factor = 1.0
    return schedule.peak * factor


def plateau_drops(scores: Scores, patience: int) -> int:
    """Count how often `patience` epochs in a row had no better score than the best before them, since the last drop."""
    drops = waited = 0
    best: tuple[float, ...] | None = None
    for score in scores:
        if best is None or score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited >= patience:
            drops, waited = drops + 1, 0
    return drops


def _one_cycle(step: int, total_steps: int, rise: float) -> float:
    """As torch's OneCycleLR: the peak is at step `rise * total_steps - 1`, the end at the last."""
    peak, last = rise * total_steps - 1, total_steps - 1
    if step < peak:
        return _half_cosine(1 / ONE_CYCLE_START, 1.0, step / peak)
    return _half_cosine(1.0, 1 / (ONE_CYCLE_START * ONE_CYCLE_END), min((step - peak) / max(last - peak, 1), 1.0))


def _half_cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
