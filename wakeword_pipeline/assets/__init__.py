"""The asset graph, one file a group."""
