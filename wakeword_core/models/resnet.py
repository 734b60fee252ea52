"""ResNet-18 and ResNet-34 (He et al. 2016, "Deep Residual Learning for Image Recognition") for log-mel windows.

The paper's stem is for photographs: 7 x 7 with stride 2 and pooling leave a quarter of each side. A window of 64 bands
and 151 frames is already small, so the stem here is 3 x 3 with stride 2, on one channel, without pooling.
"""

from torch import Tensor, nn
from torch.nn import functional

from wakeword_core.config import ResNet18Config, ResNet34Config
from wakeword_core.models.layers import WindowBackbone, convolution, he_initialise

_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Blocks of each stage (table 1 of the paper); every stage has twice the channels of the one before."""
_KERNEL = 3


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut around them, a projection where the shape changes (option B of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, _KERNEL, stride=stride)
        self.second = convolution(outputs, outputs, _KERNEL, activation=None)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride=stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels in, bands, steps] to [batch, channels out, bands / stride, steps / stride]."""
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(WindowBackbone):
    """Residual network of basic blocks, for windows of any size."""

    def __init__(self, settings: ResNet18Config | ResNet34Config, n_mels: int, frames: int, classes: int) -> None:
        super().__init__()
        self.stem = convolution(1, settings.width, _KERNEL, stride=2)
        blocks, inputs = [], settings.width
        for stage, count in enumerate(_BLOCKS[settings.arch]):
            outputs = settings.width * 2**stage
            for position in range(count):
                blocks.append(BasicBlock(inputs, outputs, stride=2 if stage > 0 and position == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Linear(inputs, classes)
        he_initialise(self, "fan_out")

    def embed(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] to [batch, 8 * width]: the mean over bands and steps."""
        y: Tensor = self.blocks(self.stem(x[:, None]))
        return y.mean(dim=(2, 3))
