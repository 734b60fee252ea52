"""Data sets as sources: tables and archives of recordings, on disk or on the hub, and what is unpacked of them."""
