"""CRNN (Arik et al. 2017, "Convolutional Recurrent Neural Networks for Small-Footprint Keyword Spotting").

One strided convolution over bands and time, recurrent layers over its steps, and a hidden layer that sees the states
at every step. Sizes are the paper's; batch norm behind the convolution is added, and a runtime folds it away.
"""

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import CrnnConfig
from wakeword_core.models.backbones import WindowBackbone
from wakeword_core.models.layers import he_initialise, recurrent_initialise, same_padding

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Crnn(WindowBackbone):
    """Convolution, recurrent layers, one hidden layer; for windows of a fixed size."""

    def __init__(self, config: CrnnConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        kernel = (config.kernel_bands, config.kernel_frames)
        stride = (config.stride_bands, config.stride_frames)
        self.pad = nn.ZeroPad2d(
            (*same_padding(frames, kernel[1], stride[1]), *same_padding(n_mels, kernel[0], stride[0]))
        )
        self.stem = nn.Conv2d(1, config.channels, kernel, stride, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.channels)
        bands, steps = -(-n_mels // stride[0]), -(-frames // stride[1])
        self.recurrent = _CELLS[config.cell](
            config.channels * bands,
            config.units,
            config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
        )
        states = config.units * (2 if config.bidirectional else 1)
        self.hidden = nn.Linear(states * steps, config.hidden_units)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_units, classes)

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, hidden_units]."""
        y = functional.relu(self.stem_norm(self.stem(self.pad(x[:, None]))))
        states, _ = self.recurrent(y.flatten(1, 2).transpose(1, 2))
        return functional.relu(self.hidden(states.flatten(1)))


def crnn(config: CrnnConfig, n_mels: int, frames: int, classes: int) -> Crnn:
    """CRNN of the configured size; He initialisation, and orthogonal recurrent weights."""
    model = Crnn(config, n_mels, frames, classes)
    he_initialise(model)
    recurrent_initialise(model.recurrent)
    return model
