"""Take the server's part out of the wheels in a folder: a device needs neither code nor models.

python .ci/wheel_for_devices.py dist
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SERVER = ("toolkit", "export")


def without_server(wheel: Path) -> Path:
    """Write the same wheel with the build tag `1device`, and return it."""
    os.umask(0o022)  # modes are packed
    with tempfile.TemporaryDirectory() as folder:
        _wheel("unpack", "--dest", folder, str(wheel))
        (root,) = Path(folder).iterdir()
        for name in SERVER:
            shutil.rmtree(root / "vision_edge" / name)
        (points,) = root.glob("*.dist-info/entry_points.txt")
        kept = re.sub(r"^.*vision_edge\.(toolkit|export).*\n", "", points.read_text(), flags=re.M)
        points.write_text(kept)
        _wheel("pack", "--dest-dir", str(wheel.parent), "--build-number", "1device", str(root))
    name, version, *rest = wheel.name.split("-")
    return wheel.with_name("-".join([name, version, "1device", *rest]))


def _wheel(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "wheel", *arguments], check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    for found in sorted(Path(sys.argv[1]).glob("vision_edge-*-py3-none-any.whl")):
        if "1device" not in found.name:
            made = without_server(found)
            print(f"{made}: {made.stat().st_size / 1e6:.1f} MB of {found.stat().st_size / 1e6:.1f}")
