"""Listening to what was kept, in a browser, and saying what is in it."""
