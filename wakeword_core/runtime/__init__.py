"""Running an exported model: files, long audio and live streams. Needs numpy and onnxruntime, never torch."""

from wakeword_core.runtime.model import Detector, WakewordModel, window_scores

__all__ = ["Detector", "WakewordModel", "window_scores"]
