"""The whole of LoRA Recycle: average, invert, meta-learn, report.

Imports every room of the toolkit but `cli`.
"""

from vision_edge.runtime.system.moved import names_of

_HOMES = ("vision_edge.toolkit.recycle.pipeline",)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
