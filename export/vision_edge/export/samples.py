"""Images for the parity gate and the cohort, when the user gives none: the runtime's scenes."""

from __future__ import annotations

from vision_edge.runtime.scenes import SOURCE, generated_scenes

__all__ = ["SOURCE", "generated_scenes"]
