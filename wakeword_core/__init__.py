"""Recordings to a deployable wake word: audio, features, models, training, evaluation and export."""

__version__ = "0.2.0"
