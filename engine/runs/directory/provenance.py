"""Provenance of a run, so that its result can be explained and repeated."""

import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import secrets

if TYPE_CHECKING:
    from engine.hardware.probe import Machine

PACKAGES = ("ft-studio", "accelerate", "tokenizers", "safetensors", "numpy", "pyarrow", "huggingface-hub")
"""Distributions whose versions are written beside those that backends need or use."""


def at_creation(run_id: str, now: float, command: str) -> dict[str, Any]:
    """Facts that are known when the run's folder is made."""
    return {"id": run_id, "created": now, "command": command, "folder": str(Path.cwd()), "git": git_state()}


def at_start(machine: "Machine") -> dict[str, Any]:
    """Facts that the engine process knows: versions, and the machine as probed."""
    # Sets hold what the installed MLX knows: its version says as much, and JSON has none.
    known = {name: value for name, value in asdict(machine).items() if not isinstance(value, frozenset)}
    known["gpus"] = [
        asdict(gpu) | {"capability": gpu.capability and list(gpu.capability)} for gpu in machine.gpus
    ]
    first = known["gpus"][0] if known["gpus"] else {}
    # The GPU that trains, under the names of ft 0.1.0, which knew of one.
    known |= {
        "gpu_name": first.get("name"),
        "gpu_bytes": first.get("total_bytes"),
        "gpu_free_bytes": first.get("free_bytes"),
        "gpu_capability": first.get("capability"),
    }
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "versions": _versions(),
        "machine": known,
    }


def git_state() -> dict[str, Any] | None:
    """Commit of the working folder and whether files differ from it; None outside of a repository."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=5,
            env=secrets.without(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    from engine.backend_spec import backend_packages

    names = (*PACKAGES, *(name.replace("_", "-") for name in backend_packages()))
    return {name: found for name in dict.fromkeys(names) if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
