"""GenICam cameras on networks of their own: one without jumbo frames, one with two of one serial.

Each runs in a network namespace, where the loopback's MTU and addresses are the test's to set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.genicam import PROGRAM

from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis

CHILD = """
import subprocess, sys, time
from vision_edge.runtime.errors import SourceError
from vision_edge.runtime.sources import aravis
from vision_edge.runtime.sources.live import LiveSettings, LiveSource

addresses, before, camera = sys.argv[1].split(","), sys.argv[2], sys.argv[3]
running = [subprocess.Popen(["{program}", "-i", one, "-s", "TWIN"]) for one in addresses]
try:
    until = time.monotonic() + 20
    while not aravis.devices():
        assert time.monotonic() < until, "no camera answers"
    if before:
        line = ["arv-tool-0.8", "-a", addresses[0], "control", before]
        subprocess.run(line, check=True, capture_output=True)
    source = LiveSource(camera, "camera", LiveSettings(stale_after=30, give_up_after=8))
    try:
        print(next(iter(source)).image.shape)
    finally:
        source.close()
except SourceError as error:
    print(error)
finally:
    for one in running:
        one.kill()
"""


def _in_its_network(prepare: str, *arguments: str) -> str:
    """Run `CHILD` where nobody else is; return what it says."""
    for tool in (PROGRAM, "arv-tool-0.8", "unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    try:
        aravis.library()
    except SourceError as error:
        pytest.skip(str(error))
    apart = ["unshare", "-n" if os.getuid() == 0 else "-rn", "sh", "-ec"]
    if subprocess.run([*apart, "ip link set lo up"], capture_output=True).returncode:
        pytest.skip("this machine gives no network namespaces")
    path = os.pathsep.join(entry for entry in sys.path if entry and Path(entry).is_dir())
    told = subprocess.run(
        [*apart, f'{prepare}; ip link set lo up; exec "$@"', "sh", sys.executable, "-c",
         CHILD.replace("{program}", PROGRAM), *arguments],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize(
    ("size", "told"), [("", "the camera sent"), ("&packet_size=1400", "(120, 160, 3)")]
)
def test_packets_that_the_network_refuses_are_told_and_can_be_made_smaller(
    size: str, told: str
) -> None:
    address = f"genicam://TWIN?region=0,0,160,120&pixel_format=RGB8{size}"
    said = _in_its_network(
        "ip link set lo mtu 1500", "127.0.0.1", "ArvGevSCPSPacketSize=9000", address
    )
    assert told in said
    assert ("packet_size=1400" in said) is (not size), "what to do is told"


def test_of_two_cameras_of_one_serial_number_each_can_be_had_by_its_address() -> None:
    for address in ("127.0.0.1", "127.0.0.2"):
        said = _in_its_network(
            "ip address add 127.0.0.2/8 dev lo label lo:2",
            "127.0.0.1,127.0.0.2",
            "",
            f"genicam://{address}?region=0,0,160,120",
        )
        assert "(120, 160, 3)" in said


def test_an_address_where_no_camera_is_has_none() -> None:
    said = _in_its_network("true", "127.0.0.1", "", "genicam://127.0.0.9")
    assert "opening it" in said
