"""What the commands do, a file for each or for a few that belong together."""
