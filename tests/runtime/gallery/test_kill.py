"""`kill -9` at random moments of registration: the gallery opens, and holds what was said."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.archive import write_archive
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.snapshot_store import Snapshot
from vision_edge.runtime.images.coding import encode_jpeg

KILLS = int(os.environ.get("VISION_EDGE_KILLS", "6"))
MODEL = ModelIdentity("f" * 64, 8)
REGISTERS = """
import os, sys
import numpy as np
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.bundles.manifest import ModelIdentity
from vision_edge.runtime.gallery.snapshot_store import Snapshot
with Gallery(sys.argv[1], ModelIdentity("f" * 64, 8), create=True) as gallery:
    for number in range(10**9):
        jpeg = os.urandom(20_000)
        label = f"{sys.argv[2]}-{number}"
        gallery.add(label, [Snapshot(jpeg, np.ones(8, np.float32), "test")])
        print(label, flush=True)
"""


@pytest.mark.slow
def test_no_acknowledged_product_is_lost_to_a_kill(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "g", set()
    rng = random.Random(0)
    for cycle in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", REGISTERS, str(path), str(cycle)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        acknowledged.add(process.stdout.readline().strip())
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        acknowledged.update(line.strip() for line in process.stdout if line.endswith("\n"))
        process.wait()
        process.stdout.close()
        with Gallery(path, MODEL) as gallery:
            labels, prototypes = gallery.prototypes()
            assert acknowledged <= set(labels)
            assert len(labels) == len(prototypes) <= len(acknowledged) + cycle + 1
    print(f"{KILLS} kills, {len(acknowledged)} products acknowledged, none lost")


@pytest.mark.slow
def test_an_import_that_is_killed_leaves_all_or_nothing(tmp_path: Path) -> None:
    from support.runtime import picture

    archive, count = tmp_path / "a.zip", 150
    with Gallery(tmp_path / "source", MODEL, create=True) as gallery:
        for number in range(count):
            jpeg = encode_jpeg(picture(number))
            gallery.add(f"{number}", [Snapshot(jpeg, np.ones(8, np.float32), "test")])
        write_archive(gallery, archive)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from vision_edge.runtime.gallery import archive_import\n"
        "take_in = archive_import._take_in\n"
        "def said(*arguments):\n"
        "    print('writing', flush=True)\n"
        "    return take_in(*arguments)\n"
        "archive_import._take_in = said\n"
        "archive_import.import_archive(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    rng, found = random.Random(0), []
    for cycle in range(KILLS):
        target = tmp_path / f"target-{cycle}"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(archive), str(target)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with Gallery(target, MODEL) as gallery:
            found.append(len(gallery.prototypes()[0]))
    assert set(found) <= {0, count}


def test_a_full_disk_is_an_error_and_what_was_kept_stays(tmp_path: Path) -> None:
    limited = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited + REGISTERS, str(tmp_path / "g"), "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "GalleryError" in done.stderr
    assert "the disk is not full" in done.stderr
    acknowledged = done.stdout.split()
    assert len(acknowledged) > 5
    with Gallery(tmp_path / "g", MODEL) as gallery:
        assert list(gallery.state()) == acknowledged
