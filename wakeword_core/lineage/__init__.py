"""What was made from what: the graph of artifacts, the recordings behind it, and what is out of date and why."""
