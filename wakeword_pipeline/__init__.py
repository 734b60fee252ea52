"""The Dagster pipeline around wakeword_core: assets, checks, tracking and the command line."""
