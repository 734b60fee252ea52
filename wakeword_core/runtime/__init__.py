"""Running an exported model: files, long audio and live streams. Needs numpy and onnxruntime, never torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wakeword_core.runtime.live import Detector
    from wakeword_core.runtime.model import WakewordModel, window_scores

__all__ = ["Detector", "WakewordModel", "window_scores"]


def __getattr__(name: str) -> Any:
    """Load what runs a model when it is asked for: whoever only names its files needs no numpy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wakeword_core.runtime import live, model

    return getattr(live if name == "Detector" else model, name)
