"""Models over the network: clips and streams in, decisions out. What imports fastapi or uvicorn is only in here."""
