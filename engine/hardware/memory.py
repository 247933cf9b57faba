"""Memory that this process may really use, and the signs of running out of it.

A container's or a shell's limit is the machine's limit.
"""

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
SIGNS = (
    "out of memory",
    "outofmemory",
    "not enough memory",
    "allocate memory",
    "memory allocation of",
    "unable to allocate",
    "insufficient memory",
    "bad_alloc",
    "bad allocation",
    "[metal::malloc]",
)
"""Parts, in small letters, of what says that memory ran out: the C library, C++ and Rust; torch on a CPU, CUDA and MPS;
MLX on a CPU, Metal's allocator, and a command buffer of it that failed."""
LIMITED_SIGNS = (
    "failed to map segment",
    "resource temporarily unavailable",
    "can't start new thread",
    "could not create a primitive",
)
"""Errors with other causes too, which count only under `ulimit -v`: no room for a library, a thread's stack, or the
code that oneDNN makes for a product."""


def memory() -> tuple[int, int]:
    """Bytes in all and bytes available now, under the limits of control groups and `ulimit -v`."""
    system = psutil.virtual_memory()
    total, available = int(system.total), int(system.available)
    for limit, used in group_limits(OWN_GROUP, CGROUPS):
        total, available = min(total, limit), min(available, max(limit - used, 0))
    address_space = address_space_limit()
    if address_space is not None:
        left = max(address_space - int(psutil.Process().memory_info().vms), 0)
        total, available = min(total, address_space), min(available, left)
    return total, available


def address_space_limit() -> int | None:
    """Bytes of address space that this process may have (`ulimit -v`), which children inherit; None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def says_exhaustion(text: str) -> bool:
    """Return True if a message or a log says that memory ran out."""
    text = text.lower()
    return any(sign in text for sign in SIGNS)


def is_exhaustion(error: BaseException) -> bool:
    """Return True if an exception, or the one that it was raised from, says that memory ran out.

    torch on a CPU and MLX raise a plain RuntimeError. What other errors say may be a person's own text.
    """
    if isinstance(error, MemoryError):
        return True
    told_by = (
        isinstance(error, RuntimeError | OSError | ImportError) or type(error).__name__ == "SafetensorError"
    )
    if told_by and says_exhaustion(str(error)):
        return True
    if (
        told_by
        and address_space_limit() is not None
        and any(sign in str(error).lower() for sign in LIMITED_SIGNS)
    ):
        return True
    return error.__cause__ is not None and is_exhaustion(error.__cause__)


def group_limits(own_group: Path, root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes used that cannot be reclaimed) of every control group around this process, v1 and v2.

    `own_group` is /proc/self/cgroup, with lines `hierarchy:controllers:path`. Inside a container the path
    may be the host's and not exist here, while the container's own limit lies at the root: so every
    parent is asked up to the root.
    """
    if not own_group.exists():
        return
    for line in own_group.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names = ("memory.max", "memory.current", "inactive_file")
            base = root
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            base = root / "memory"
        else:
            continue
        group = base / path.strip("/")
        while True:
            limit = _number(group / names[0])
            if limit is not None:
                yield limit, _in_use(group, names[1], names[2])
            if group == base:
                break
            group = group.parent


def _in_use(group: Path, usage: str, reclaimable: str) -> int:
    """Bytes that a control group uses, without the file cache that the kernel drops before it kills anyone."""
    used = _number(group / usage) or 0
    statistics = group / "memory.stat"
    if statistics.exists():
        for line in statistics.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == reclaimable:
                return max(used - int(value), 0)
    return used


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or it says `max`."""
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdigit() else None
