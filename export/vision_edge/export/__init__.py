"""Merge an adapter into its backbone, export to ONNX, prove that it is the same model."""
