"""From a trained network to an INT8 file that a microcontroller runs step by step, and what proves that it does."""
