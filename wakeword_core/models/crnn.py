"""CRNN (Arik et al. 2017, "Convolutional Recurrent Neural Networks for Small-Footprint Keyword Spotting").

One strided convolution over bands and time, recurrent layers over its steps, and a hidden layer that sees the states
at every step. Sizes are the paper's; batch norm behind the convolution is added, and a runtime folds it away.
"""

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import CrnnConfig
from wakeword_core.models.layers import WindowBackbone, he_initialise, recurrent_initialise, same_padding

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Crnn(WindowBackbone):
    """Convolution, recurrent layers, one hidden layer; for windows of a fixed size."""

    def __init__(self, settings: CrnnConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        kernel = (settings.kernel_bands, settings.kernel_frames)
        stride = (settings.stride_bands, settings.stride_frames)
        self.pad = nn.ZeroPad2d(
            (*same_padding(frames, kernel[1], stride[1]), *same_padding(n_mels, kernel[0], stride[0]))
        )
        self.stem = nn.Conv2d(1, settings.channels, kernel, stride, bias=False)
        self.stem_norm = nn.BatchNorm2d(settings.channels)
        bands, steps = -(-n_mels // stride[0]), -(-frames // stride[1])
        self.recurrent = _CELLS[settings.cell](
            settings.channels * bands,
            settings.units,
            settings.layers,
            batch_first=True,
            bidirectional=settings.bidirectional,
        )
        states = settings.units * (2 if settings.bidirectional else 1)
        self.hidden = nn.Linear(states * steps, settings.hidden_units)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(settings.hidden_units, classes)
        he_initialise(self)
        recurrent_initialise(self.recurrent)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, hidden_units]."""
        y = functional.relu(self.stem_norm(self.stem(self.pad(x[:, None]))))
        states, _ = self.recurrent(y.flatten(1, 2).transpose(1, 2))
        return functional.relu(self.hidden(states.flatten(1)))
