"""Where frames come from: files, videos, cameras, streams. Imports `images` and below."""

from vision_edge.runtime.system.moved import names_of

_HOMES = (
    "vision_edge.runtime.sources.frame",
    "vision_edge.runtime.sources.opening",
    "vision_edge.runtime.sources.files",
)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
