"""Make glibc give freed memory back, instead of keeping it in a heap full of holes."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h."""
LARGE = 1 << 20
"""Blocks from this size on are mapped one by one, and unmapped when freed."""


def give_back_freed_memory() -> bool:
    """Call once in a process that trains, before it loads a model; True where the allocator took it.

    By default glibc raises its threshold for mapping up to 32 MB as blocks are freed (mallopt(3)), so
    activations of all sizes land in one heap and leave holes between them: a training process then holds
    twice of what is alive in it. Setting the thresholds turns that off. Elsewhere than on glibc: nothing.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, LARGE) and mallopt(TRIM_THRESHOLD, 4 * LARGE))
