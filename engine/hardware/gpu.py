"""NVIDIA's GPUs, asked of the driver (NVML, or nvidia-smi), without torch."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass

from engine import secrets


@dataclass(frozen=True)
class Gpu:
    """One GPU: bytes in all and free now, and its compute capability, as (8, 6)."""

    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]


def first_gpu() -> Gpu | None:
    """The GPU that torch will see as device 0, or None."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = "0" if visible is None else visible.split(",")[0].strip()
    if not chosen or chosen.startswith("-"):
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return from_smi(chosen)
    return from_nvml(library, chosen)


class _Memory(ctypes.Structure):
    """`nvmlMemory_t` of nvml.h."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def from_nvml(library: ctypes.CDLL, chosen: str) -> Gpu | None:
    """Ask the driver's library; `chosen` is an index or a UUID. Every call returns 0 for success."""
    if library.nvmlInit_v2() != 0:
        return None
    try:
        handle = ctypes.c_void_p()
        if chosen.isdigit():
            code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(chosen)), ctypes.byref(handle))
        else:
            code = library.nvmlDeviceGetHandleByUUID(chosen.encode(), ctypes.byref(handle))
        name, memory = ctypes.create_string_buffer(96), _Memory()
        major, minor = ctypes.c_int(), ctypes.c_int()
        if (
            code != 0
            or library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name))) != 0
            or library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0
            or library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
            != 0
        ):
            return None
        return Gpu(name.value.decode(errors="replace"), memory.total, memory.free, (major.value, minor.value))
    finally:
        library.nvmlShutdown()


def from_smi(chosen: str) -> Gpu | None:
    """Ask `nvidia-smi`, which a container may have without the library."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = "--query-gpu=name,memory.total,memory.free,compute_cap"
    command = [program, query, "--format=csv,noheader,nounits", f"--id={chosen}"]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env=secrets.without()
    )
    values = [value.strip() for value in answer.stdout.strip().split(",")]
    if answer.returncode != 0 or len(values) != 4 or not (values[1] + values[2]).isdigit():
        return None
    major, _, minor = values[3].partition(".")
    return Gpu(values[0], int(values[1]) << 20, int(values[2]) << 20, (int(major), int(minor)))
