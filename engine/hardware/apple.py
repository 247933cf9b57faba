"""Apple silicon from moment to moment, without sudo: what `sysctl`, `vm_stat`, `ioreg` and IOReport tell."""

import importlib
import platform
import re
import subprocess
import time
from dataclasses import dataclass
from typing import Protocol, cast

WINDOW = "ft"
PRESSURES = {"1": "normal", "2": "warning", "4": "critical"}
"""Values of kern.memorystatus_vm_pressure_level (DISPATCH_MEMORYPRESSURE_* of <dispatch/source.h>)."""


@dataclass(frozen=True)
class Reading:
    """Shares 0 to 1, bytes, watts. Power is the chip's estimate of what it drew since the last reading."""

    gpu_name: str
    gpu_use: float | None = None
    gpu_memory: int | None = None
    """Bytes of the unified memory that the GPU holds."""
    gpu_power: float | None = None
    power: float | None = None
    """CPU, GPU, neural engine and memory together, as far as they are known."""
    compressed: int | None = None
    pressure: str | None = None


class _Metrics(Protocol):
    """`AppleEnergyMetrics`: millijoules over a window; None where the chip does not tell."""

    cpu_total_mj: int | None
    gpu_mj: int | None
    ane_mj: int | None
    dram_mj: int | None


class _EnergyMonitor(Protocol):
    """`AppleEnergyMonitor` of the package zeus-apple-silicon, which reads IOReport."""

    def begin_window(self, label: str, restart: bool = False) -> None: ...
    def end_window(self, label: str) -> _Metrics: ...


class Apple:
    """Readings of this Mac; keeps the energy window that is open between two of them."""

    def __init__(self) -> None:
        self._name = ask("sysctl", "-n", "machdep.cpu.brand_string").strip() or "Apple GPU"
        self._energy = _energy_monitor()
        self._since: float | None = None

    def read(self) -> Reading:
        """The machine now; about 20 ms. There is no power in the first reading."""
        registry = ask("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
        use, held = gpu_statistics(registry)
        gpu_power, power = self._watts()
        return Reading(
            gpu_name=self._name,
            gpu_use=use,
            gpu_memory=held,
            gpu_power=gpu_power,
            power=power,
            compressed=compressed_bytes(ask("vm_stat")),
            pressure=PRESSURES.get(ask("sysctl", "-n", "kern.memorystatus_vm_pressure_level").strip()),
        )

    def _watts(self) -> tuple[float | None, float | None]:
        """Watts of the GPU and of the chip since the last call, and open the next window."""
        if self._energy is None:
            return None, None
        now, since = time.monotonic(), self._since
        try:
            metrics = self._energy.end_window(WINDOW) if since is not None else None
            self._energy.begin_window(WINDOW, True)
        except (RuntimeError, ValueError):  # C++'s runtime_error and invalid_argument
            self._energy = None
            return None, None
        self._since = now
        if metrics is None or since is None or now <= since:
            return None, None
        return watts(metrics, now - since)


def is_apple_silicon() -> bool:
    """Return True if this is a Mac whose GPU shares the memory."""
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def watts(metrics: _Metrics, seconds: float) -> tuple[float | None, float | None]:
    """Mean power of the GPU, and of all parts that are known, over a window of energy."""
    parts = (metrics.cpu_total_mj, metrics.gpu_mj, metrics.ane_mj, metrics.dram_mj)
    known = [part for part in parts if part is not None]
    gpu = None if metrics.gpu_mj is None else metrics.gpu_mj / 1000 / seconds
    return gpu, sum(known) / 1000 / seconds if known else None


def gpu_statistics(registry: str) -> tuple[float | None, int | None]:
    """Share of time that the GPU worked, and the bytes it holds, of `ioreg`'s PerformanceStatistics."""
    use = re.search(r'"Device Utilization %"\s*=\s*(\d+)', registry)
    held = re.search(r'"In use system memory"\s*=\s*(\d+)', registry)
    return int(use[1]) / 100 if use else None, int(held[1]) if held else None


def compressed_bytes(statistics: str) -> int | None:
    """Bytes that the compressor occupies, of `vm_stat`'s table in pages."""
    page = re.search(r"page size of (\d+) bytes", statistics)
    pages = re.search(r"^Pages occupied by compressor:\s+(\d+)", statistics, re.MULTILINE)
    return int(page[1]) * int(pages[1]) if page and pages else None


def ask(*command: str) -> str:
    """Output of a system program; empty where it is missing or does not answer within a second."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=1, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _energy_monitor() -> _EnergyMonitor | None:
    try:
        return cast(_EnergyMonitor, importlib.import_module("zeus_apple_silicon").AppleEnergyMonitor())
    except (ImportError, RuntimeError):  # not installed, or a chip and system without IOReport's energies
        return None
