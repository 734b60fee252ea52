"""The command line: `wakeword ...`."""
