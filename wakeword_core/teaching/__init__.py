"""Finished models whose scores another one learns besides its labels: how they are opened, and what they say."""
