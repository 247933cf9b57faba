"""benchmarks/step_profile.py takes a step apart, and finds every part that is there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "step_profile.py"
NAMES = (
    "products with frozen weights",
    "adapter",
    "attention",
    "norms, rotation, gate, sums",
    "loss at the head",
)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["peft", "mlx"])
def test_step_profile_has_every_part(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(SCRIPT), "--child", backend, "tiny", "--steps", "1", "--rows", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    parts, arithmetic = result["parts"], result["arithmetic"]
    assert all(seconds >= 0 for seconds in parts.values()), parts
    assert all(parts[name] > 0 for name in NAMES)
    assert parts["clipping and optimizer"] > 0
    assert parts["making the batches"] > 0
    assert {"products with frozen weights", "adapter", "attention", "loss at the head"} == set(arithmetic)
    assert all(operations > 0 for operations in arithmetic.values())
