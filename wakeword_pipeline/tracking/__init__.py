"""MLflow: a run for each training, and the versions of models that follow the project's registry; other trackers."""

TRACKERS = "trackers"
"""The folder of a home in which TensorBoard and others keep what they were told."""
