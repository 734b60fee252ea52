"""Optimisation of a model on stored windows."""
