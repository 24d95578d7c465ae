"""LoRAs on a backbone: reading, writing, hubs of them. Imports `backbones`."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.toolkit.adapters.adapter",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
