"""A microcontroller-class network: three strided 2-D convolutions and one learned pooling.

Pooling is a global depthwise convolution (Chen et al. 2018, MobileFaceNets), which keeps where in the window and the
spectrum something was; a plain mean would forget the order of the sounds.
"""

from torch import Tensor, nn

from wakeword_core.config import TinyConvConfig
from wakeword_core.models.toeplitz import products_pay

_STEM_KERNEL = 5
_KERNEL = 3
_STRIDE = 2


def _halved(size: int, times: int) -> int:
    for _ in range(times):
        size = -(-size // _STRIDE)
    return size


def _stage(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=_STRIDE, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class TinyConv(nn.Module):
    """Small 2-D convolutional network for windows of a fixed number of frames."""

    streams = False

    def __init__(self, config: TinyConvConfig, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        width = config.channels
        self.stages = nn.Sequential(
            _stage(1, width, _STEM_KERNEL), _stage(width, 2 * width, _KERNEL), _stage(2 * width, 4 * width, _KERNEL)
        )
        size = (_halved(n_mels, 3), _halved(frames, 3))
        self.pool = nn.Conv2d(4 * width, 4 * width, size, groups=4 * width, bias=False)
        self.pool_norm = nn.BatchNorm2d(4 * width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(4 * width, classes)

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, 4 * channels]."""
        y = self.stages(x[:, None])
        y = (y * self.pool.weight[:, 0]).sum(dim=(2, 3), keepdim=True) if products_pay(y) else self.pool(y)
        pooled: Tensor = self.pool_norm(y)
        return pooled.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits


def tiny_conv(config: TinyConvConfig, n_mels: int, frames: int, classes: int) -> TinyConv:
    """Small 2-D convolutional network, with He initialisation."""
    model = TinyConv(config, n_mels, frames, classes)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model
