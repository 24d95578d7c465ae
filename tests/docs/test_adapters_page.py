"""The table of adapter kinds is what its script makes of the code as it is."""

import subprocess
import sys

from support.paths import ROOT


def test_the_table_of_adapter_kinds_is_up_to_date() -> None:
    line = [sys.executable, "benchmarks/adapter_kinds.py", "--check"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
