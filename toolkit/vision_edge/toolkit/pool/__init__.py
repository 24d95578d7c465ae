"""The synthetic pool: inverted images with labels, and tasks drawn from it. Imports `adapters`."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.toolkit.pool.pool",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
