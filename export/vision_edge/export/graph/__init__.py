"""The ONNX graph: written, rewritten, tidied and run. Imports `model`."""
