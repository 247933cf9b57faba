"""Processor, memory and GPUs, and whether the installed torch can use them."""

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.doctor.finding import Finding, fault, note, ok, warning
from engine.hardware.probe import Machine
from engine.units import size

LITTLE_BYTES = 2_000_000_000
"""Memory under which not even the starter trains beside anything else (its peak is 1.3 GB)."""
OLDEST_DRIVERS = {"11": (450, 80), "12": (525, 60), "13": (580, 65)}
"""By CUDA's major version, the oldest driver on Linux that runs programs made for it: NVIDIA's table of minor version
compatibility, docs.nvidia.com/deploy/cuda-compatibility."""
DRIVER = Path("/proc/driver/nvidia/version")
TORCH_FOR_CUDA = "{python} -m pip install --force-reinstall torch"


@dataclass(frozen=True)
class Nvidia:
    """NVIDIA's side of a machine, as far as files tell without loading anything."""

    driver: str | None
    """Version of the kernel's driver; None without one."""
    torch_cuda: str | None
    """CUDA version that the installed torch was built for; None for a build without CUDA."""
    visible: str | None
    """`CUDA_VISIBLE_DEVICES`; None where it is not set."""
    gpus: int
    """GPUs that this process may use."""


def findings(machine: Machine) -> Iterator[Finding]:
    """The machine itself. `machine` is what `probe` found."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    bf16 = "multiplies bf16 in hardware" if machine.bf16 else "no bf16 instructions: fp32 is used on the CPU"
    yield ok("system", system)
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    yield ok("cpu", f"{machine.cpu}, {cores}, {bf16}")
    yield from memory(machine, int(psutil.virtual_memory().total))
    if translated():
        yield fault(
            "rosetta",
            "This Python is made for Intel and runs under Rosetta: MLX and Apple's GPU are out of its reach.",
            "Install a Python for arm64, then ft with it: arch -arm64 brew install pipx && pipx install ft-studio",
        )
    if machine.system == "Linux":
        yield from nvidia(seen(machine))
    for gpu in machine.gpus:
        yield ok("gpu", f"{gpu.name}, {size(gpu.free_bytes)} of {size(gpu.total_bytes)} free")
    if not machine.gpus:
        yield note("gpu", "No GPU that ft can use: it trains on the CPU.")
    if Path("/dev/kfd").exists():
        yield note("amd-gpu", "There is an AMD GPU; ft does not use it.")


def memory(machine: Machine, physical: int) -> Iterator[Finding]:
    """Memory that may be used, of the `physical` bytes that there are."""
    text = f"{size(machine.available_bytes)} of {size(machine.ram_bytes)} of memory free"
    if machine.ram_bytes < 0.95 * physical:
        text += f", under a limit: the machine has {size(physical)}"
    if machine.available_bytes < LITTLE_BYTES:
        yield warning("memory", f"Only {text}.", "End other programs, or raise the container's limit.")
    else:
        yield ok("memory", text)


def nvidia(found: Nvidia) -> Iterator[Finding]:
    """Whether torch and the driver fit each other."""
    if found.driver is None:
        if found.torch_cuda and found.visible is None:
            yield note("nvidia-driver", "torch is built for CUDA, and there is no NVIDIA driver.")
        return
    if found.torch_cuda is None:
        yield fault(
            "torch-without-cuda",
            f"There is an NVIDIA driver ({found.driver}), and the installed torch is a build without CUDA.",
            TORCH_FOR_CUDA.format(python=sys.executable),
        )
        return
    if older(found.driver, found.torch_cuda):
        needed = ".".join(map(str, OLDEST_DRIVERS[found.torch_cuda.partition(".")[0]]))
        yield fault(
            "nvidia-driver",
            f"The NVIDIA driver {found.driver} is too old for torch's CUDA {found.torch_cuda}: it needs {needed}.",
            "Update the driver (https://www.nvidia.com/drivers), or install a torch for an older CUDA.",
        )
    elif found.gpus == 0 and found.visible is not None:
        yield warning(
            "gpus-hidden",
            f"CUDA_VISIBLE_DEVICES={found.visible!r} hides every GPU: ft trains on the CPU.",
            "unset CUDA_VISIBLE_DEVICES",
        )
    elif found.gpus == 0:
        yield fault(
            "nvidia-library",
            f"The NVIDIA driver {found.driver} is loaded, and no GPU answers through it.",
            "See what nvidia-smi says; after an update of the driver, restart the machine.",
        )
    else:
        yield ok("nvidia-driver", f"NVIDIA driver {found.driver}, torch for CUDA {found.torch_cuda}")


def older(driver: str, cuda: str) -> bool:
    """Return True if a driver cannot run programs made for that version of CUDA."""
    oldest = OLDEST_DRIVERS.get(cuda.partition(".")[0])
    parts = tuple(int(part) for part in re.findall(r"\d+", driver)[:2])
    return oldest is not None and bool(parts) and parts < oldest


def seen(machine: Machine) -> Nvidia:
    """What this machine's files say of its driver and its torch."""
    driver = None
    if DRIVER.exists():
        version = re.search(r"Kernel Module\D*?(\d+\.\d[\d.]*)", DRIVER.read_text(errors="replace"))
        driver = version[1] if version else "of unknown version"
    elif machine.device == "cuda" or shutil.which("nvidia-smi"):
        driver = "of unknown version"
    return Nvidia(driver, torch_cuda(), os.environ.get("CUDA_VISIBLE_DEVICES"), len(machine.gpus))


def torch_cuda() -> str | None:
    """CUDA version of the installed torch, read from its files; None where it is built without, or not installed."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("version.py")
    found = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)", file.read_text() if file.exists() else "", re.MULTILINE)
    return found[1] if found else None


def translated() -> bool:
    """Return True for an Intel Python on Apple silicon."""
    return platform.system() == "Darwin" and platform.machine() == "x86_64" and "ARM64" in platform.version()
