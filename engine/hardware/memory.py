"""How much memory this process may really use: a container's or a shell's limit is the machine's limit."""

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def memory() -> tuple[int, int]:
    """Bytes in all and bytes available now, under the limits of control groups and `ulimit -v`."""
    system = psutil.virtual_memory()
    total, available = int(system.total), int(system.available)
    for limit, used in group_limits(OWN_GROUP, CGROUPS):
        total, available = min(total, limit), min(available, max(limit - used, 0))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        total, available = min(total, address_space), min(available, address_space)
    return total, available


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
    """What a group uses, without the file cache that the kernel drops before it kills anyone."""
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
