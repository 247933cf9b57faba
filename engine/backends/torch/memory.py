"""Memory of the process and the device."""

import ctypes
import resource
import sys

import psutil
import torch

from engine.backends.base import MemoryReading


class Gauge:
    """Memory that the process and the device hold, now and at most."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._mps_peak = 0
        """MPS keeps no maximum of its own, so this is the largest reading."""

    def reading(self) -> MemoryReading:
        """Bytes; what the device does not tell is None.

        On MPS all that the driver has given out, freed blocks that torch keeps too: that is what counts against what
        the GPU may hold, and as torch keeps what a step took, a reading between steps shows what the step needed.
        """
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
        now = device_peak = None
        if self.device.type == "cuda":
            now = torch.cuda.memory_allocated(self.device)
            device_peak = torch.cuda.max_memory_allocated(self.device)
        elif self.device.type == "mps":
            now = torch.mps.driver_allocated_memory()
            device_peak = self._mps_peak = max(self._mps_peak, now)
        return MemoryReading(
            process_bytes=psutil.Process().memory_info().rss,
            process_peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            device_bytes=now,
            device_peak_bytes=device_peak,
        )

    def release(self) -> None:
        """Give freed memory back to the system, or to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            self.reading()  # the peak, before it is gone
            torch.mps.empty_cache()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
