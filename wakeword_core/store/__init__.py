"""Artifacts on disk: built once, linked by what they were made from, and deleted when nothing needs them."""
