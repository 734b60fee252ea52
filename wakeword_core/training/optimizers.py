"""What moves the weights: AdamW, Adam, SGD, and Muon for matrices with AdamW for the rest."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from wakeword_core.config import TrainingConfig
from wakeword_core.training.clipping import Clipper

CLASSIFIER = "classifier"
"""Name of the last layer in every backbone, which AdamW moves even where Muon moves other matrices."""

Named = list[tuple[str, nn.Parameter]]
Parameters = list[nn.Parameter]


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
        """Move the weights by their gradients, which are scaled back and clipped before; the norm they had."""
        if self._matrices is not None:
            self._matrices.take_gradients()
        if scaler.is_enabled() and len(self._parts) > 1:
            self._break_all_where_one_is_broken()
        for part in self._parts:
            scaler.unscale_(part)
        norm = clip(one for group in self.groups for one in group["params"])
        for part in self._parts:
            scaler.step(part)
        scaler.update()
        return norm

    def _break_all_where_one_is_broken(self) -> None:
        """A scaler skips the step of an optimizer whose gradients are not finite; with this, of all of them."""
        gradients = [one.grad for group in self.groups for one in group["params"] if one.grad is not None]
        broken = ~nn.utils.get_total_norm(gradients, norm_type=torch.inf).isfinite()  # squares may overflow
        torch._foreach_add_(gradients, torch.where(broken, torch.inf, 0.0))

    def tensors(self) -> dict[str, Tensor]:
        """The state of every parameter as named tensors: `<optimizer>.<parameter>.<name>`."""
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
            parameters = [one for group in part.param_groups for one in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                of, index, name = key.split(".", 2)
                if int(of) == number:
                    state.setdefault(int(index), {})[name] = _laid_out_as(parameters[int(index)], value)
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """Moments in their parameter's memory format, which fused kernels rely on; files hold them without gaps."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device=value.device).copy_(value)


class Matrices:
    """Weights of convolutions and linear layers as matrices [outputs, inputs * taps], in the same memory."""

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        self._pairs = [(weight, nn.Parameter(weight.data.view(len(weight), -1))) for weight in weights]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The matrices."""
        return [matrix for _, matrix in self._pairs]

    def take_gradients(self) -> None:
        """Give the matrices their weights' gradients."""
        for weight, matrix in self._pairs:
            matrix.grad = None if weight.grad is None else weight.grad.reshape(matrix.shape)

    def forget(self) -> None:
        """Forget the gradients."""
        for weight, matrix in self._pairs:
            weight.grad = matrix.grad = None


def make_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], config: TrainingConfig, undecayed: Iterable[nn.Parameter] = ()
) -> Optimizers:
    """What `config.optimizer` says for (name, parameter); norms, biases and `undecayed` others are not decayed."""
    return _MAKERS[config.optimizer](list(named), list(undecayed), config)


def _adamw(named: Named, undecayed: Parameters, config: TrainingConfig) -> Optimizers:
    """AdamW (Loshchilov and Hutter 2019)."""
    return Optimizers(
        [torch.optim.AdamW(_decayed_apart(named, undecayed, config), lr=config.learning_rate, fused=True)]
    )


def _adam(named: Named, undecayed: Parameters, config: TrainingConfig) -> Optimizers:
    """Adam (Kingma and Ba 2015), whose decay is part of the gradient."""
    groups = _decayed_apart(named, undecayed, config)
    return Optimizers([torch.optim.Adam(groups, lr=config.learning_rate, fused=True)])


def _sgd(named: Named, undecayed: Parameters, config: TrainingConfig) -> Optimizers:
    """Stochastic gradient descent, with Nesterov's momentum (Sutskever et al. 2013) where it has any."""
    groups, momentum = _decayed_apart(named, undecayed, config), config.momentum
    return Optimizers([torch.optim.SGD(groups, lr=config.learning_rate, momentum=momentum, nesterov=momentum > 0)])


def _muon(named: Named, undecayed: Parameters, config: TrainingConfig) -> Optimizers:
    """Muon (Jordan et al. 2024) for the matrices before the last layer, AdamW for all else.

    Rates are matched to AdamW's by their root mean square (Liu et al. 2025), so that one schedule serves both. Weights
    of depthwise convolutions are no matrices: each of their filters is by itself.
    """
    matrices = [(name, one) for name, one in named if _is_matrix(name, one)]
    names = {name for name, _ in matrices}
    rest = [(name, one) for name, one in named if name not in names]
    seen_as = Matrices(one for _, one in matrices)
    settings: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    settings |= {"momentum": config.momentum, "nesterov": True, "adjust_lr_fn": "match_rms_adamw"}
    parts: list[torch.optim.Optimizer] = [torch.optim.Muon(seen_as.parameters, **settings)] if matrices else []
    if rest or undecayed:
        parts.append(torch.optim.AdamW(_decayed_apart(rest, undecayed, config), lr=config.learning_rate, fused=True))
    return Optimizers(parts, seen_as)


_MAKERS: dict[str, Callable[[Named, Parameters, TrainingConfig], Optimizers]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "muon": _muon,
}


def _decayed_apart(named: Named, undecayed: Parameters, config: TrainingConfig) -> list[dict[str, Any]]:
    groups = [
        {"params": [one for name, one in named if _is_weight(name, one)], "weight_decay": config.weight_decay},
        {"params": [*(one for name, one in named if not _is_weight(name, one)), *undecayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _is_weight(name: str, parameter: nn.Parameter) -> bool:
    """Whether it is no norm's and no bias, of whatever shape: attention has some of two dimensions."""
    return parameter.ndim > 1 and name.rsplit(".", 1)[-1] != "bias"


def _is_matrix(name: str, weight: nn.Parameter) -> bool:
    return _is_weight(name, weight) and weight.shape[1] > 1 and CLASSIFIER not in name.split(".")
