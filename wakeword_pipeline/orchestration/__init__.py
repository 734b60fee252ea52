"""Dagster: the asset graph, its checks, what is due, and the runs that build it."""
