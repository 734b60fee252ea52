"""A deep fully connected network over stacked frames (Chen et al. 2014, "Small-Footprint Keyword Spotting Using DNNs").

The classical keyword spotter: at every step, a frame and those before it are one long vector, and the hidden layers are
fully connected. So a window means this to it: a score sees the last `(stacked_frames - 1) * frame_step + 1` frames of
the window and nothing before them, and it streams. The paper stacks 41 successive frames (0.4 s) and adds up the words
of a phrase afterwards; here the network itself has to see the whole phrase, so it stacks as many frames but every third
(1.2 s): frames of 30 ms every 30 ms still cover all sound. Batch norm is added, and a runtime folds it away.
"""

from torch import Tensor, nn

from wakeword_core.config import CdDnnConfig
from wakeword_core.models.layers import StreamingBackbone, he_initialise


class CdDnn(StreamingBackbone):
    """Fully connected layers over stacked frames, written as convolutions so that a stretch is one pass."""

    def __init__(self, settings: CdDnnConfig, n_mels: int, frames: int, classes: int) -> None:
        reach = (settings.stacked_frames - 1) * settings.frame_step + 1
        super().__init__(stem_frames=reach, stride=settings.stride, lost_steps=0)
        units = settings.hidden_units
        stem = nn.Conv1d(
            n_mels, units, settings.stacked_frames, settings.stride, dilation=settings.frame_step, bias=False
        )
        hidden = [nn.Conv1d(units, units, 1, bias=False) for _ in range(settings.hidden_layers - 1)]
        self.layers = nn.Sequential(
            *(nn.Sequential(layer, nn.BatchNorm1d(units), nn.ReLU()) for layer in (stem, *hidden))
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.classifier = nn.Conv1d(units, classes, 1)
        he_initialise(self)

    def steps(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, stem_frames + n * stride] to [batch, hidden_units, steps]."""
        y: Tensor = self.layers(x)
        return y
