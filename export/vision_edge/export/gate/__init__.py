"""What an export must pass before it is written: parity and few-shot accuracy. Imports `graph`."""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.export.gate.gate",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
