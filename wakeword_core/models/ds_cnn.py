"""DS-CNN (Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers").

One convolution and a row of depthwise separable ones, then the mean. The paper has 10 cepstra every 20 ms, of which
its first layer sees 10 frames by 4 coefficients and takes every second of both (`stride` 2). Log-mel windows are
larger, so the first layer and its stride grow together, and with the default of 4 its steps are 40 ms as in the paper.
The medium and large networks of the paper are `channels` 172 with 4 `blocks`, and 276 with 5.
"""

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import DsCnnConfig
from wakeword_core.models.layers import WindowBackbone, he_initialise, same_padding, separable_convolution

_STEM_BANDS = 2
_STEM_FRAMES = 5  # bands and frames the first layer sees, as multiples of its stride
_KERNEL = 3


class DsCnn(WindowBackbone):
    """Depthwise separable convolutional network."""

    def __init__(self, settings: DsCnnConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        stride, kernel = settings.stride, (_STEM_BANDS * settings.stride, _STEM_FRAMES * settings.stride)
        self.pad = nn.ZeroPad2d((*same_padding(frames, kernel[1], stride), *same_padding(n_mels, kernel[0], stride)))
        self.stem = nn.Conv2d(1, settings.channels, kernel, stride, bias=False)
        self.stem_norm = nn.BatchNorm2d(settings.channels)
        self.blocks = nn.Sequential(
            *(separable_convolution(settings.channels, settings.channels, _KERNEL) for _ in range(settings.blocks))
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(settings.channels, classes)
        he_initialise(self)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, channels]: the mean over bands and steps."""
        y: Tensor = self.blocks(functional.relu(self.stem_norm(self.stem(self.pad(x[:, None])))))
        return y.mean(dim=(2, 3))
