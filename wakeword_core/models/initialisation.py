"""First weights of networks."""

from typing import Literal

from torch import nn


def he_initialise(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    """He initialisation (He et al. 2015) of every convolution and linear layer of `model` but its `classifier`.

    `fan_in` keeps the size of activations from layer to layer, `fan_out` that of gradients; biases begin at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module is not model.classifier:
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def recurrent_initialise(network: nn.GRU | nn.LSTM) -> None:
    """Orthogonal weights from step to step (Saxe et al. 2014), Glorot's from the input, biases zero.

    The forget gate of an LSTM begins open, with a bias of one (Jozefowicz et al. 2015).
    """
    for name, parameter in network.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.split(network.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            for gate in parameter.split(network.hidden_size):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(network, nn.LSTM) and name.startswith("bias_ih"):
                # in torch's order of gates: input, forget, cell, output
                nn.init.ones_(parameter.data[network.hidden_size : 2 * network.hidden_size])
