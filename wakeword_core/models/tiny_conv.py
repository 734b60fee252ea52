"""A microcontroller-class network: three strided 2-D convolutions and one learned pooling.

Pooling is a global depthwise convolution (Chen et al. 2018, MobileFaceNets), which keeps where in the window and the
spectrum something was; a plain mean would forget the order of the sounds. With depthwise separable convolutions (Howard
et al. 2017, MobileNets) it has a fraction of the products.
"""

from torch import Tensor, nn

from wakeword_core.config import TinyConvConfig
from wakeword_core.models.layers import WindowBackbone, convolution, he_initialise, products_pay, separable_convolution

_STEM_KERNEL = 5
_KERNEL = 3
_STRIDE = 2


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = -(-size // _STRIDE)
    return size


class TinyConv(WindowBackbone):
    """Small 2-D convolutional network for windows of a fixed number of frames."""

    def __init__(self, settings: TinyConvConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        width = settings.channels
        # the first layer has one input channel, so that there is nothing to separate
        stage = separable_convolution if settings.separable else convolution
        self.stages = nn.Sequential(
            convolution(1, width, _STEM_KERNEL, stride=_STRIDE),
            stage(width, 2 * width, _KERNEL, stride=_STRIDE),
            stage(2 * width, 4 * width, _KERNEL, stride=_STRIDE),
        )
        size = (_halved(n_mels, 3), _halved(frames, 3))
        self.pool = nn.Conv2d(4 * width, 4 * width, size, groups=4 * width, bias=False)
        self.pool_norm = nn.BatchNorm2d(4 * width)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(4 * width, classes)
        he_initialise(self)

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, 4 * channels]."""
        y = self.stages(x[:, None])
        y = (y * self.pool.weight[:, 0]).sum(dim=(2, 3), keepdim=True) if products_pay(y) else self.pool(y)
        pooled: Tensor = self.pool_norm(y)
        return pooled.flatten(1)
