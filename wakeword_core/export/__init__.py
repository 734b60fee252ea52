"""From a trained model to the files that ship: ONNX, INT8 and what they cost to run."""
