"""Recordings to log-mel windows: front end, augmentation, store, builder and normalisation."""
