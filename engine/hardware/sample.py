"""The machine at one moment, as values. What cannot be read is None, never zero."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU now: shares 0 to 1, bytes, degrees Celsius, watts."""

    name: str
    use: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None
    processes: tuple[tuple[int, int | None], ...] = ()
    """Process ids with the bytes that each holds."""


@dataclass(frozen=True)
class Sample:
    """The machine at one moment: shares 0 to 1, bytes, degrees Celsius, watts, unix seconds."""

    t: float
    cpu: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    swap_used: int | None = None
    swap_total: int | None = None
    wired: int | None = None
    compressed: int | None = None
    pressure: str | None = None
    """normal, warning or critical, as the system says."""
    temperature: float | None = None
    power: float | None = None
    disk_free: int | None = None
    engine_bytes: int | None = None
    """Resident bytes of a training engine and its children."""
    engine_cpu: float | None = None
    """Their CPU use in cores."""
    unified: bool = False
    """GPU and CPU share the memory."""
    gpus: tuple[Gpu, ...] = ()
