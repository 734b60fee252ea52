"""A split's recordings packed in Parquet: planned, written by workers, verified and read."""
