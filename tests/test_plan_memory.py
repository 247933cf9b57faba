"""The predicted peak against what a real engine process needed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident sizes elsewhere were not measured")
def test_predicted_memory_peak_is_near_measured_one() -> None:
    command = [sys.executable, "benchmarks/memory.py", "--only", "10M, 2×256"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    line = re.search(r"^10M, 2×256 +\d+ MB +\d+ MB +([+-]\d+\.\d)%$", done.stdout, re.MULTILINE)
    assert line is not None, done.stdout
    assert abs(float(line[1])) < 25
