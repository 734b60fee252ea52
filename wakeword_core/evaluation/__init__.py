"""Measuring a model: clips, calibration, continuous audio, and the report people read."""
