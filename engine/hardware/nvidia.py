"""NVIDIA's GPUs from moment to moment, through NVML. An error of the driver is absence, never a crash."""
# ruff: noqa: N802 - NVML's names

import importlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar, cast

from engine.hardware.sample import Gpu

Value = TypeVar("Value")
RETRY_S = 30.0
"""Seconds before a driver that did not answer is asked again."""


class _Memory(Protocol):
    total: int
    used: int


class _Use(Protocol):
    gpu: int
    """Per cent of the last sampling period in which a kernel ran."""


class _Process(Protocol):
    pid: int
    usedGpuMemory: int | None  # noqa: N815 - NVML's name


class _Nvml(Protocol):
    """Functions of the package nvidia-ml-py that are used. A handle is opaque."""

    NVML_TEMPERATURE_GPU: int
    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...
    def nvmlDeviceGetUUID(self, handle: object) -> str: ...
    def nvmlDeviceGetName(self, handle: object) -> str: ...
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _Use: ...
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> _Memory: ...
    def nvmlDeviceGetTemperatureV(self, handle: object, sensor: int) -> int: ...
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...
    def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[_Process]: ...


class Nvidia:
    """A connection to the driver, made when it is first needed and again after it was lost."""

    def __init__(self) -> None:
        self._nvml = _package()
        self._connected = False
        self._asked = -RETRY_S

    def read(self) -> tuple[Gpu, ...]:
        """The GPUs that programs may use (`CUDA_VISIBLE_DEVICES`); empty without driver or GPU."""
        nvml = self._nvml
        if nvml is None or not self._connect(nvml):
            return ()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            return tuple(_gpu(nvml, handle) for handle in _visible(nvml, handles))
        except nvml.NVMLError:
            self.close()
            return ()

    def close(self) -> None:
        """Let go of the driver; the next `read` after a while connects again."""
        if self._connected and self._nvml is not None:
            self._connected = False
            _or_none(self._nvml, self._nvml.nvmlShutdown)

    def _connect(self, nvml: _Nvml) -> bool:
        if self._connected:
            return True
        if time.monotonic() - self._asked < RETRY_S:
            return False
        self._asked = time.monotonic()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return False
        self._connected = True
        return True


def _package() -> _Nvml | None:
    """nvidia-ml-py, where it is installed: it is a dependency on Linux alone."""
    try:
        return cast(_Nvml, importlib.import_module("pynvml"))
    except ImportError:
        return None


def _visible(nvml: _Nvml, handles: list[object]) -> Iterator[object]:
    """The handles that `CUDA_VISIBLE_DEVICES` leaves, in its order: indexes, or the beginnings of UUIDs."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        yield from handles
        return
    for name in (name.strip() for name in names.split(",")):
        if name.isdigit() and int(name) < len(handles):
            yield handles[int(name)]
        elif name.startswith("GPU-"):
            yield from (h for h in handles if nvml.nvmlDeviceGetUUID(h).startswith(name))
        else:
            return  # as CUDA does: what follows something invalid is not seen


def _gpu(nvml: _Nvml, handle: object) -> Gpu:
    """One GPU. Raises NVMLError where it is gone; a figure that it does not give is None."""
    name = nvml.nvmlDeviceGetName(handle)
    use = _or_none(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = _or_none(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    milliwatts = _or_none(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    processes = _or_none(nvml, lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return Gpu(
        name=name,
        use=None if use is None else use.gpu / 100,
        memory_used=None if memory is None else memory.used,
        memory_total=None if memory is None else memory.total,
        temperature=_temperature(nvml, handle),
        power=None if milliwatts is None else milliwatts / 1000,
        processes=tuple((process.pid, process.usedGpuMemory) for process in processes or ()),
    )


def _temperature(nvml: _Nvml, handle: object) -> float | None:
    """Degrees of the chip. Newer drivers have the versioned call, older ones only the other."""
    sensor = nvml.NVML_TEMPERATURE_GPU
    for call in (nvml.nvmlDeviceGetTemperatureV, nvml.nvmlDeviceGetTemperature):
        degrees = _or_none(nvml, lambda call=call: call(handle, sensor))  # type: ignore[misc]
        if degrees is not None:
            return float(degrees)
    return None


def _or_none(nvml: _Nvml, call: Callable[[], Value]) -> Value | None:
    """Result of a call, None where the driver refuses it."""
    try:
        return call()
    except nvml.NVMLError:
        return None
