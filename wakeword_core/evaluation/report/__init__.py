"""The report of a test: its figures, and the page that shows them."""
