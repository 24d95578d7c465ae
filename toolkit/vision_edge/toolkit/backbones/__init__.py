"""The frozen vision transformer: loading, names, tokens. Imports PyTorch, timm and the runtime."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.toolkit.backbones.backbone",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
