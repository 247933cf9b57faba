"""Readings of the machine's load. A value that cannot be read is None, never zero."""

import os
import time
from pathlib import Path

import psutil

from engine import paths
from engine.hardware.apple import Apple, is_apple_silicon
from engine.hardware.memory import memory
from engine.hardware.nvidia import Nvidia
from engine.hardware.pressure import pressure
from engine.hardware.sample import Gpu as Gpu
from engine.hardware.sample import Sample as Sample

CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "acpitz")
"""Names of sensors in or near the CPU, the best first: Intel, AMD, Arm boards, and the mainboard's own."""


class Monitor:
    """Reads samples; keeps what is needed between two of them. To be used by one thread."""

    def __init__(self) -> None:
        self._apple = Apple() if is_apple_silicon() else None
        self._nvidia = None if self._apple else Nvidia()
        self._cpu = CpuUse()
        self._engine: EngineUse | None = None

    def sample(self, engine_pid: int | None = None) -> Sample:
        """The machine now. CPU shares and power are over the time since the last call, and absent at first.

        Memory is under the limits of the container. `engine_pid` is the process of a training engine.
        """
        total, available = memory()
        system, swap = psutil.virtual_memory(), _swap()
        apple = self._apple.read() if self._apple else None
        engine_bytes, engine_cpu = self._engine_use(engine_pid)
        gpus = self._nvidia.read() if self._nvidia else ()
        if apple:
            gpus = (Gpu(apple.gpu_name, apple.gpu_use, apple.gpu_memory, power=apple.gpu_power),)
        return Sample(
            t=time.time(),
            cpu=self._cpu.share(),
            memory_used=total - available,
            memory_total=total,
            swap_used=swap[0] if swap else None,
            swap_total=swap[1] if swap else None,
            wired=getattr(system, "wired", None),
            compressed=apple.compressed if apple else None,
            pressure=apple.pressure if apple else _pressure(),
            temperature=cpu_temperature(),
            power=apple.power if apple else None,
            disk_free=_disk_free(),
            engine_bytes=engine_bytes,
            engine_cpu=engine_cpu,
            unified=apple is not None,
            gpus=gpus,
        )

    def _engine_use(self, pid: int | None) -> tuple[int | None, float | None]:
        if pid is None:
            self._engine = None
            return None, None
        if self._engine is None or self._engine.pid != pid:
            self._engine = EngineUse(pid)
        return self._engine.read()


def _pressure() -> str | None:
    found = pressure()
    return found.level.name.lower() if found else None


class CpuUse:
    """Load of the cores that this process may use, between two calls."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def share(self) -> float | None:
        """0 to 1 since the last call; None in the first, and where no time has gone by."""
        now, last = _cpu_times(), self._last
        self._last = now
        if last is None or now is None or now[1] <= last[1]:
            return None
        return min(max((now[0] - last[0]) / (now[1] - last[1]), 0.0), 1.0)


def _cpu_times() -> tuple[float, float] | None:
    """Seconds busy and in all since the start of the system, over the usable cores."""
    try:
        cores = psutil.cpu_times(percpu=True)
    except (OSError, RuntimeError):
        return None
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)
        cores = [times for core, times in enumerate(cores) if core in usable] or cores
    # Linux counts guests' time in `user` and `nice` too.
    everything = sum(
        sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0) for times in cores
    )
    idle = sum(times.idle + getattr(times, "iowait", 0.0) for times in cores)
    return everything - idle, everything


class EngineUse:
    """CPU and memory of a process and its children, between two calls."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._last: tuple[float, dict[int, float]] | None = None
        """Time of the last call, and the CPU seconds of each process then."""

    def read(self) -> tuple[int | None, float | None]:
        """Resident bytes, and cores since the last call; None where the process is gone."""
        try:
            root = psutil.Process(self.pid)
            processes = [root, *root.children(recursive=True)]
        except (psutil.Error, OSError):
            self._last = None
            return None, None
        resident, seconds = 0, {}
        for process in processes:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    resident += process.memory_info().rss
                    seconds[process.pid] = times.user + times.system
            except (psutil.Error, OSError):  # ended since, or another user's
                continue
        now, last = time.monotonic(), self._last
        self._last = (now, seconds)
        if not seconds:
            return None, None
        if last is None or now <= last[0]:
            return resident, None
        spent = sum(max(used - last[1].get(pid, 0.0), 0.0) for pid, used in seconds.items())
        return resident, spent / (now - last[0])


def cpu_temperature() -> float | None:
    """Degrees Celsius of the hottest sensor of the CPU; None on systems that do not tell."""
    if not hasattr(psutil, "sensors_temperatures"):
        return None
    try:
        sensors = psutil.sensors_temperatures()
    except (OSError, ValueError, RuntimeError):
        return None
    for name in CPU_SENSORS:
        degrees = [sensor.current for sensor in sensors.get(name, ()) if sensor.current > 0]
        if degrees:
            return float(max(degrees))
    return None


def _swap() -> tuple[int, int] | None:
    """Bytes of swap in use and in all."""
    try:
        swap = psutil.swap_memory()
    except (OSError, RuntimeError):
        return None
    return int(swap.used), int(swap.total)


def _disk_free() -> int | None:
    """Bytes free where runs and models are kept."""
    folder: Path = paths.home()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return int(psutil.disk_usage(str(folder)).free)
    except OSError:
        return None
