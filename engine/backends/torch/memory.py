"""What the process and the device use."""

import ctypes
import resource
import sys

import psutil
import torch

from engine.backends.base import MemoryReading


def release(device: torch.device) -> None:
    """Give freed memory back to the system, or to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def reading(device: torch.device) -> MemoryReading:
    """Bytes in use now and at most; what the device does not tell is None."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    now = device_peak = None
    if device.type == "cuda":
        now, device_peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        now = torch.mps.current_allocated_memory()
    return MemoryReading(
        process_bytes=psutil.Process().memory_info().rss,
        process_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        device_bytes=now,
        device_peak_bytes=device_peak,
    )
