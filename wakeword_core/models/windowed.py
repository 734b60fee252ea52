"""What networks that see whole windows have in common."""

from torch import Tensor, nn


class WindowBackbone(nn.Module):
    """A network that makes one vector of a whole window; a kind of network defines `embed`, `dropout`, `classifier`."""

    streams = False
    dropout: nn.Module
    classifier: nn.Module

    def embed(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> [batch, d]: what the classifier sees."""
        raise NotImplementedError(f"{type(self).__name__} has to define its layers")

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] -> logits [batch, classes]."""
        logits: Tensor = self.classifier(self.dropout(self.embed(x)))
        return logits
