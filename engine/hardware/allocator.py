"""A memory allocator that suits training, for the engine process.

A step takes and frees thousands of blocks of all sizes. glibc's allocator keeps them in one heap full of holes, or,
told not to, maps and unmaps each of them; mimalloc (MIT, from the package `cmeel-mimalloc`) does neither.
`benchmarks/train.py --sides ft ft-system-allocator` measures what that is worth.
"""

import importlib.metadata
import os
import sys
from pathlib import Path

from engine.hardware.memory import address_space_limit

PACKAGE, LIBRARY = "cmeel-mimalloc", "libmimalloc.so"
PURGE_MS = "10000"
"""Milliseconds until free memory is returned to the system: longer than a step takes."""


def preload() -> dict[str, str]:
    """Environment variables that run a child on mimalloc; empty where it is missing, or not on Linux.

    `FT_ALLOCATOR=system` keeps the system's own.
    """
    if sys.platform != "linux" or os.environ.get("FT_ALLOCATOR") == "system":
        return {}
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    for path in (Path(str(file.locate())) for file in files if file.name == LIBRARY):
        if path.is_file():
            libraries = " ".join(filter(None, [str(path), os.environ.get("LD_PRELOAD")]))
            # MLX ends by a segmentation fault where an allocation fails; with this, the log says why.
            # Returned immediately, as mimalloc would, each layer's memory would be cleared by the system over and over.
            settings = {
                "LD_PRELOAD": libraries,
                "MIMALLOC_SHOW_ERRORS": "1",
                "MIMALLOC_PURGE_DELAY": PURGE_MS,
            }
            if address_space_limit() is not None:
                # mimalloc reserves 1 GiB of addresses at a time, which under `ulimit -v` are gone for all else.
                settings["MIMALLOC_ARENA_RESERVE"] = "0"
            return settings
    return {}
