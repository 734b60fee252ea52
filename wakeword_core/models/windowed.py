"""What networks that see whole windows have in common."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class WindowBackbone(nn.Module, ABC):
    """A network that makes one vector of a whole window; a kind of network defines `embed`, `dropout`, `classifier`."""

    streams = False
    dropout: nn.Module
    classifier: nn.Module

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, d]: what the classifier sees."""

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits
