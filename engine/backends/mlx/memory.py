"""What the process and the device use, their limits, and how running out looks."""

import resource
import sys

import mlx.core as mx
import psutil

from engine.backends.base import MemoryReading

SIGNS = ("[metal::malloc]", "unable to allocate", "insufficient memory", "outofmemory")
"""Parts of what MLX says when there is no more: Metal's allocator, the CPU's, and a failed command buffer."""
CACHE_SHARE = 8
"""MLX keeps freed blocks for the next step, at most one part in so many of what the device can give."""


def is_exhaustion(error: RuntimeError | MemoryError) -> bool:
    """Whether this error means that memory ran out; MLX raises a plain RuntimeError."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in SIGNS)


def set_limits(limit_bytes: int) -> None:
    """Keep a model resident on Apple's GPU, and MLX's cache of freed blocks within bounds.

    On a CPU there is none: the system's allocator, or mimalloc, has one already.
    """
    if not mx.metal.is_available():
        mx.set_cache_limit(0)
        return
    mx.set_cache_limit(limit_bytes // CACHE_SHARE)
    mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))


def reading(device: str) -> MemoryReading:
    """Bytes in use now and at most; the device's own only where it is a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    on_gpu = device != "cpu"
    return MemoryReading(
        process_bytes=psutil.Process().memory_info().rss,
        process_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        device_bytes=mx.get_active_memory() if on_gpu else None,
        device_peak_bytes=mx.get_peak_memory() if on_gpu else None,
    )
