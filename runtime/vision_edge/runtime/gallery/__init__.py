"""The registered products of a station, with their snapshots and history.

Imports `bundles` and below, and `recognition`.
"""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.runtime.gallery.gallery",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
