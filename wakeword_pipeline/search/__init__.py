"""Searches: trials of other settings, which Optuna chooses and several processes may share."""

DATABASE = "search.db"
"""The file of a home that holds the trials of searches."""
SEARCHES = "searches"
"""The folder of a home for what searches found, and for which artifacts their trials need."""
