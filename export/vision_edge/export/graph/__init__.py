"""The ONNX graph: written, rewritten, tidied and run. Imports `model`."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.export.model.edge_model",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
