"""From a picture to a registration, from a frame to a verdict.

May import every other room of the library.
"""

from vision_edge.runtime.system.moved import names_of

_HOMES = (
    "vision_edge.runtime.pipeline.registration",
    "vision_edge.runtime.pipeline.gallery_classifier",
    "vision_edge.runtime.pipeline.frame_verdicts",
)
__getattr__ = names_of(__name__, _HOMES)  # the module of this name, until 0.3
