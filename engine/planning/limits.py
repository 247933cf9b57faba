"""Memory that the device can give, and whether a peak fits into it."""

from typing import Literal

from engine.hardware.probe import Machine
from engine.units import size

Fits = Literal["yes", "tight", "no"]
COMFORT = 0.85
"""Share of the limit up to which a plan fits: the prediction may be 15 % off."""


def limit_bytes(machine: Machine) -> tuple[int, str]:
    """Bytes that the engine may use on the device that trains, and why so many."""
    gpu = machine.gpu
    if machine.device == "cuda":
        free, total = (gpu.free_bytes, gpu.total_bytes) if gpu else (0, 0)
        return free, f"{size(free)} of the GPU's {size(total)} are free now"
    ram = host_bytes(machine)
    reserved = (
        f"{size(_reserve(machine))} are reserved for the OS, which would otherwise kill the largest process"
    )
    if machine.device == "mps" and gpu is not None and gpu.total_bytes <= ram:
        return gpu.total_bytes, f"the GPU may hold {size(gpu.total_bytes)} of unified memory"
    of_all = f"{size(machine.available_bytes)} of {size(machine.ram_bytes)} are available now"
    return ram, f"{of_all}; {reserved}"


def host_bytes(machine: Machine) -> int:
    """Bytes of the machine's own memory that the engine may use."""
    return max(machine.available_bytes - _reserve(machine), 0)


def _reserve(machine: Machine) -> int:
    return max(256 << 20, machine.ram_bytes // 20)


def fits(peak: int, limit: int) -> Fits:
    """`yes` leaves room for the prediction's error, `tight` has none, `no` is over the limit."""
    if peak <= COMFORT * limit:
        return "yes"
    return "tight" if peak <= limit else "no"


def compared(held: int | None, predicted: int, limit: int) -> str:
    """Compare the memory of an engine that ran out of it with the plan: bytes each, None where unknown."""
    most = f"It held {size(held)} at most; " if held else ""
    return f"{most}{'t' if most else 'T'}he plan predicted {size(predicted)} of the {size(limit)} available."
