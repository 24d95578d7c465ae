"""Where verdicts go: tables, annotated pictures, a folder for review.

Imports `recognition`, `sources` and below.
"""

from vision_edge.runtime.system.moved import names_of

_HOMES = (
    "vision_edge.runtime.sinks.sink",
    "vision_edge.runtime.sinks.tables",
    "vision_edge.runtime.sinks.annotated",
)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
