"""MLflow: a run for each training, and the versions of models that follow the project's registry."""
