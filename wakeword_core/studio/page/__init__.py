"""The page on which people record themselves, and the server behind it."""
