"""Engines: a bundle's model compiled by TensorRT or TensorRT-RTX for one device, and cached."""
