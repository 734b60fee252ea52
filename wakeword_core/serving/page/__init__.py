"""The page that shows the model at work, and onnxruntime-web, with which the browser runs it."""
