"""GPUs that train: NVIDIA's, asked of the driver (NVML, or nvidia-smi) without torch."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from engine import secrets


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory is in bytes; on Apple silicon, what of the unified memory the GPU may hold."""

    name: str
    total_bytes: int
    free_bytes: int
    """Free now."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability, as (8, 6); None on other GPUs."""


def nvidia_gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch will see, in the driver's order; none where there is no driver."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if asked is None else visible(asked)
    if chosen == ():
        return ()
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return from_smi(chosen)
    return from_nvml(library, chosen)


def visible(devices: str) -> tuple[str, ...]:
    """Indexes or UUIDs in `CUDA_VISIBLE_DEVICES`; the first that is not one hides those after it, as CUDA does."""
    found: list[str] = []
    for device in map(str.strip, devices.split(",")):
        if not device or device.startswith("-"):
            break
        found.append(device)
    return tuple(found)


class _Memory(ctypes.Structure):
    """`nvmlMemory_t` of nvml.h."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def from_nvml(library: ctypes.CDLL, chosen: Sequence[str] | None = None) -> tuple[Gpu, ...]:
    """Ask the driver's library; `chosen` are indexes or UUIDs, None all. Every call returns 0 for success."""
    if library.nvmlInit_v2() != 0:
        return ()
    try:
        if chosen is None:
            count = ctypes.c_uint()
            if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
                return ()
            chosen = tuple(map(str, range(count.value)))
        found = [_of_nvml(library, device) for device in chosen]
    finally:
        library.nvmlShutdown()
    return tuple(gpu for gpu in found if gpu is not None)


def _of_nvml(library: ctypes.CDLL, device: str) -> Gpu | None:
    handle = ctypes.c_void_p()
    if device.isdigit():
        code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(device)), ctypes.byref(handle))
    else:
        code = library.nvmlDeviceGetHandleByUUID(device.encode(), ctypes.byref(handle))
    name, memory = ctypes.create_string_buffer(96), _Memory()
    major, minor = ctypes.c_int(), ctypes.c_int()
    if (
        code != 0
        or library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name))) != 0
        or library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != 0
        or library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor)) != 0
    ):
        return None
    return Gpu(name.value.decode(errors="replace"), memory.total, memory.free, (major.value, minor.value))


def from_smi(chosen: Sequence[str] | None = None) -> tuple[Gpu, ...]:
    """Ask `nvidia-smi`, which a container may have without the library; `chosen` as for `from_nvml`."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = "--query-gpu=name,memory.total,memory.free,compute_cap"
    command = [program, query, "--format=csv,noheader,nounits"]
    command += [] if chosen is None else [f"--id={','.join(chosen)}"]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=False, env=secrets.without()
    )
    if answer.returncode != 0:
        return ()
    found = (_of_smi([value.strip() for value in line.split(",")]) for line in answer.stdout.splitlines())
    return tuple(gpu for gpu in found if gpu is not None)


def _of_smi(values: list[str]) -> Gpu | None:
    if len(values) != 4 or not (values[1] + values[2]).isdigit():
        return None
    major, _, minor = values[3].partition(".")
    return Gpu(values[0], int(values[1]) << 20, int(values[2]) << 20, (int(major), int(minor)))
