"""The page, in files that are served as they are."""
