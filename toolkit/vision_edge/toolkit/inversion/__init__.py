"""LoRA Inversion: images from adapters. Imports `pool` and below."""

from vision_edge.runtime.system.moved import names_of

_HOMES = (
    "vision_edge.toolkit.inversion.inversion",
    "vision_edge.toolkit.pool.inverted",
)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
