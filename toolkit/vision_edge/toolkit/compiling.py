"""Whether compiling pays, and where what was compiled is kept.

Compiling with torch's inductor takes a time that does not depend on the work: on one NVIDIA H100
with 16 cores, ViT-Tiny and ViT-B/16 at 224 px, groups of 3 to 8 adapters with 20 images a class, 38
to 48 s for each form of a group when nothing was kept, 13 s when it was. It saves a time that does:
37 to 55 microseconds an image and iteration. In meta-learning it is 16 and 6 s against 20
microseconds. So short work runs as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

LONG_WORK = 800_000
"""Images times iterations of one process from which compiling is worth its time.

Holds for backbones from ViT-Tiny to ViT-B, between what a warm and a cold cache ask for: there
compiling ends even at 240,000 and 1,300,000.
"""

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def worth_compiling(device: str, passes: int, asked: bool | None = None) -> bool:
    """Return whether to compile.

    Args:
        device: `"cpu"` or a CUDA device. On a CPU nothing is compiled unless asked for.
        passes: Images times iterations that this process has to do, at least 0.
        asked: What the user said, which decides; None where nothing was said.
    """
    if asked is not None:
        return asked
    return device.startswith("cuda") and passes >= LONG_WORK


def keep_compiled() -> Path:
    """Have torch keep what it compiles in the user's cache, where a reboot does not empty it.

    All processes of a machine share it. `TORCHINDUCTOR_CACHE_DIR`, where it is set, stays.

    Returns:
        The folder; it need not exist yet.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.setdefault(CACHE_VARIABLE, str(default / "vision-edge" / "inductor")))
