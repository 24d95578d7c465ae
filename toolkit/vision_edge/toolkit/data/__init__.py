"""Labelled images: folders and archives of them. Imports the runtime alone."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.toolkit.data.dataset",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
