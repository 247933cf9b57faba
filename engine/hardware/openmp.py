"""OpenMP's settings for a process that computes with torch.

torch asks OpenMP for a number of threads and, in products of bf16, takes for granted that it gets them. Where the
environment makes OpenMP grant fewer (a cluster often does), a part of each product is never computed, and no error says
so: findings/torch_bf16_openmp.sh shows it. So what would cut the number later is turned into the number that torch asks
for. It has to happen before torch is imported, which means: in the environment of the process that imports it.
"""

import ctypes
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from engine.hardware.probe import usable_cores

NUMBER, LIMIT, DYNAMIC = "OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC"
LEVELS = "OMP_MAX_ACTIVE_LEVELS"
"""Most nested parallel regions; at 0, each runs on one thread."""


def settled(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a child that computes: as many threads as it allows, and none granted otherwise than asked for.

    `OMP_THREAD_LIMIT` becomes an `OMP_NUM_THREADS` within it. `OMP_DYNAMIC`, which lets OpenMP decide again at each
    product, is left out; the number stays.
    """
    child = {name: value for name, value in environment.items() if name not in (LIMIT, DYNAMIC)}
    limits = [_positive(environment.get(LIMIT))]
    if environment.get(LEVELS, "").strip() == "0":
        del child[LEVELS]
        limits.append(1)
    allowed = min((limit for limit in limits if limit), default=None)
    if allowed is not None:
        wanted = _positive(environment.get(NUMBER, "").partition(",")[0]) or usable_cores()
        child[NUMBER] = str(min(wanted, allowed))
    return child


def loaded() -> list[ctypes.CDLL]:
    """The GNU OpenMP libraries that this process has in memory: torch's own, and what other packages bring."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # only Linux tells
        return []
    paths = dict.fromkeys(re.findall(r"\S*/libgomp[^/\s]*\.so[^/\s]*$", maps, re.MULTILINE))
    return [ctypes.CDLL(path) for path in paths]


def varies() -> bool:
    """Return True if OpenMP may grant fewer threads than asked for on a busy machine (`OMP_DYNAMIC`)."""
    return any(library.omp_get_dynamic() for library in loaded())


class ShortWaits:
    """For as long as this is held, OpenMP's threads wait for each other asleep instead of spinning.

    A thread of GNU OpenMP spins 300,000 times before it sleeps, but only 100 times while the process has more OpenMP
    threads than there are CPUs (the manual's GOMP_SPINCOUNT), and it looks at that whenever it waits. So a pool of
    further threads that does nothing is enough. The threads that compute, and how work is divided among them, stay as
    they are: so do the bits of every result.
    """

    def __init__(self, cores: int) -> None:
        """`cores` is how many this process could use when it loaded OpenMP."""
        self._over = threading.Event()
        ready = threading.Event()
        self._owner = threading.Thread(
            target=self._hold, args=(cores, ready), name="pool that does nothing", daemon=True
        )
        self._owner.start()
        ready.wait()

    def end(self) -> None:
        """Let them spin again."""
        self._over.set()
        self._owner.join()

    def _hold(self, cores: int, ready: threading.Event) -> None:
        nothing = ctypes.CDLL(None).free  # which does nothing where it is given nothing
        for library in loaded():
            # The function that a compiler calls for `#pragma omp parallel`; its pool lives as long as this thread.
            library.GOMP_parallel(nothing, None, max(2, cores - library.omp_get_max_threads() + 2), 0)
        ready.set()
        self._over.wait()


def _positive(text: str | None) -> int | None:
    """A number of threads as OpenMP reads it; None for what it ignores."""
    found = re.fullmatch(r"\s*\+?(\d+)\s*", text or "")
    return int(found[1]) or None if found else None
