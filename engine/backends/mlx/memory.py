"""Memory of the process and the device, and their limits."""

import resource
import sys
import threading

import mlx.core as mx
import psutil

from engine.backends.base import MemoryReading

THREADS = 6
"""Four that read weights, that of a stream, and one to spare."""
CACHE_SHARE = 8
"""MLX keeps freed blocks for the next step, at most one part in so many of what the device can give."""


def set_limits(limit_bytes: int) -> None:
    """Keep a model resident on Apple's GPU, and MLX's cache of freed blocks within bounds.

    On a CPU there is none: the system's allocator, or mimalloc, has one already.
    """
    if not mx.metal.is_available():
        mx.set_cache_limit(0)
        return
    mx.set_cache_limit(limit_bytes // CACHE_SHARE)
    mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))


def room_for_threads() -> None:
    """Start as many threads as MLX will, and end them again.

    MLX 0.32 reads weights with a pool of threads that it starts at the first read. Where one of them cannot be
    started, it waits for ever for those that were. Here the same shortage of memory is an error, and the stacks of
    threads that have ended serve those of the pool. Raises RuntimeError.
    """
    go = threading.Event()
    started = [threading.Thread(target=go.wait, daemon=True) for _ in range(THREADS)]
    try:
        for thread in started:
            thread.start()
    finally:
        go.set()
    for thread in started:
        thread.join()


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
