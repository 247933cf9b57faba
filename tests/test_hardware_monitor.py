"""Readings of the machine's monitor: figures with units, and nothing where nothing can be read."""

import ctypes
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from engine.hardware import apple, monitor, nvidia
from engine.hardware.memory import memory
from engine.hardware.monitor import CpuUse, Monitor

NVML = r"""
#include <string.h>
/* Functions and structures as nvml.h declares them. 0 is NVML_SUCCESS, 3 NOT_SUPPORTED, 15 GPU_IS_LOST. */
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int gpu, memory; } nvmlUtilization_t;
typedef struct { unsigned int version; int sensor; int temperature; } nvmlTemperature_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int a, b; } nvmlProcessInfo_t;
static int device[2];
static int lost, poor;
void set_lost(int value) { lost = value; }
void set_poor(int value) { poor = value; }
int nvmlInitWithFlags(unsigned int flags) { return lost ? 9 : 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = 2; return lost ? 15 : 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **h) { *h = &device[i]; return i < 2 ? 0 : 2; }
int nvmlDeviceGetUUID(void *h, char *u, unsigned int n) {
  strncpy(u, h == &device[0] ? "GPU-aa11" : "GPU-bb22", n); return 0; }
int nvmlDeviceGetName(void *h, char *name, unsigned int n) {
  strncpy(name, h == &device[0] ? "NVIDIA L4" : "NVIDIA T4", n); return 0; }
int nvmlDeviceGetUtilizationRates(void *h, nvmlUtilization_t *u) { u->gpu = 94; u->memory = 30; return poor ? 3 : 0; }
int nvmlDeviceGetMemoryInfo(void *h, nvmlMemory_t *m) {
  m->total = 24000000000ULL; m->free = 23000000000ULL; m->used = 1000000000ULL; return poor ? 3 : 0; }
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned int *t) { *t = 61; return poor ? 3 : 0; }
int nvmlDeviceGetPowerUsage(void *h, unsigned int *mw) { *mw = 38500; return poor ? 3 : 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned int *n, nvmlProcessInfo_t *p) {
  if (poor) return 3;
  if (*n < 2) { *n = 2; return 7; }
  *n = 2;
  p[0].pid = 41; p[0].used = 900000000ULL;
  p[1].pid = 42; p[1].used = ~0ULL; /* NVML_VALUE_NOT_AVAILABLE */
  return 0; }
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ctypes.CDLL]:
    """No GPU here: a library with the functions of nvml.h under the real nvidia-ml-py."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    (tmp_path / "nvml.c").write_text(NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "nvml.so", tmp_path / "nvml.c"], check=True)
    library = ctypes.CDLL(str(tmp_path / "nvml.so"))
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvidia, "RETRY_S", 0.0)
    yield library
    pynvml._nvmlGetFunctionPointer_cache.clear()


def test_gpu_reading_has_every_figure(driver: ctypes.CDLL) -> None:
    """Use, memory, heat, power and programs."""
    first, second = nvidia.Nvidia().read()
    assert (first.name, second.name) == ("NVIDIA L4", "NVIDIA T4")
    assert (first.use, first.memory_used, first.memory_total) == (0.94, 1_000_000_000, 24_000_000_000)
    assert (first.temperature, first.power) == (61.0, 38.5)
    assert first.processes == ((41, 900_000_000), (42, None))


def test_missing_gpu_figure_is_absent_not_zero(driver: ctypes.CDLL) -> None:
    driver.set_poor(1)
    assert nvidia.Nvidia().read()[0] == monitor.Gpu("NVIDIA L4")


def test_gpu_driver_may_vanish_and_return(driver: ctypes.CDLL) -> None:
    reader = nvidia.Nvidia()
    assert len(reader.read()) == 2
    driver.set_lost(1)
    assert reader.read() == ()
    assert reader.read() == ()
    driver.set_lost(0)
    assert len(reader.read()) == 2


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA T4"]),
        ("1,0", ["NVIDIA T4", "NVIDIA L4"]),
        ("GPU-aa", ["NVIDIA L4"]),
        ("-1", []),
        ("", []),
    ],
)
def test_only_usable_gpus_are_shown(
    driver: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in nvidia.Nvidia().read()] == names


def test_machine_without_driver_has_no_gpus() -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a driver here")
    assert nvidia.Nvidia().read() == ()


def test_first_cpu_figure_is_absent() -> None:
    """The next is a share."""
    use = CpuUse()
    assert use.share() is None
    until = time.process_time() + 0.05  # the kernel counts in hundredths of a second
    while time.process_time() < until:
        pass
    share = use.share()
    assert share is not None
    assert 0 < share <= 1


def test_sample_has_machines_figures(ft_home: Path) -> None:
    samples = Monitor()
    first, second = samples.sample(), samples.sample(os.getpid())
    assert first.cpu is None
    assert first.engine_bytes is None
    assert first.memory_total == memory()[0]
    assert 0 < (first.memory_used or 0) <= (first.memory_total or 0)
    assert (first.disk_free or 0) > 0
    assert (second.engine_bytes or 0) > 1 << 20
    assert second.engine_cpu is None


def test_container_limit_is_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "memory", lambda: (4_000_000_000, 1_000_000_000))
    sample = Monitor().sample()
    assert (sample.memory_used, sample.memory_total) == (3_000_000_000, 4_000_000_000)


def test_engines_children_count_as_engine() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys\n"
            "child = subprocess.Popen([sys.executable, '-c', 'b = bytearray(80 << 20); print(1, flush=True); input()'],"
            " stdin=subprocess.PIPE)\nsys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    try:
        parent.stdout.readline()
        used, cores = monitor.EngineUse(parent.pid).read()
        assert (used or 0) > 80 << 20
        assert cores is None
    finally:
        parent.communicate(b"")
    assert monitor.EngineUse(parent.pid).read() == (None, None)


IOREG = """
+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x1000008aa, registered, matched, active>
    {
      "IOClass" = "AGXAcceleratorG15X"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=9151037440,\
"Tiler Utilization %"=12,"recoveryCount"=0,"Renderer Utilization %"=90,"Device Utilization %"=94,\
"In use system memory"=4561240064,"SplitSceneCount"=0}
    }
"""
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               61440.
Pages wired down:                        198432.
Pages stored in compressor:              402330.
Pages occupied by compressor:            100000.
"""


def test_mac_gpu_and_memory_are_read() -> None:
    assert apple.gpu_statistics(IOREG) == (0.94, 4_561_240_064)
    assert apple.gpu_statistics("") == (None, None)
    assert apple.compressed_bytes(VM_STAT) == 100_000 * 16384
    assert apple.compressed_bytes("") is None


class _Energy:
    def __init__(self, cpu: int | None, gpu: int | None, ane: int | None, dram: int | None) -> None:
        self.cpu_total_mj, self.gpu_mj, self.ane_mj, self.dram_mj = cpu, gpu, ane, dram


def test_mac_energy_becomes_power() -> None:
    assert apple.watts(_Energy(2000, 8000, 0, None), 0.5) == (16.0, 20.0)
    assert apple.watts(_Energy(None, None, None, None), 0.5) == (None, None)


def test_missing_monitor_program_says_nothing() -> None:
    assert apple.ask("ft-no-such-program") == ""


@pytest.mark.skipif(not apple.is_apple_silicon(), reason="needs Apple silicon")
def test_this_mac_is_read_without_sudo() -> None:
    reader = apple.Apple()
    assert reader.read().power is None
    reading = reader.read()
    assert reading.pressure in apple.PRESSURES.values()
    assert reading.compressed is not None
    assert 0 <= (reading.gpu_use or 0) <= 1


def test_zeus_apple_silicon_has_our_calls() -> None:
    """The package is for Macs alone; FT_ZEUS_SOURCE names its sdist or wheel where somebody has fetched it."""
    source = os.environ.get("FT_ZEUS_SOURCE")
    if not source:
        pytest.skip("FT_ZEUS_SOURCE names no source of zeus-apple-silicon")
    if source.endswith(".whl"):
        with zipfile.ZipFile(source) as wheel:
            text = b"".join(wheel.read(name) for name in wheel.namelist()).decode("latin-1")
    else:
        text = "".join(p.read_text() for p in Path(source).rglob("*") if p.suffix in (".py", ".hpp", ".cpp"))
    for name in (
        "AppleEnergyMonitor",
        "begin_window",
        "end_window",
        "restart",
        "cpu_total_mj",
        "gpu_mj",
        "ane_mj",
        "dram_mj",
    ):
        assert name in text
