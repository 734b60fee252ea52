"""What the trained model wrongly fires at in the training split, and its tuning on that."""
