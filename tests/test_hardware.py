"""Results of the hardware probe: containers' limits, bf16 instructions, GPUs, and nothing heavy imported."""

import importlib.metadata
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backend_spec import spec_of
from engine.hardware import gpu, speed
from engine.hardware.memory import group_limits, memory
from engine.hardware.probe import apple_gpu_bytes, built_for_cuda, flags_have_bf16, installed, probe

GB = 1_000_000_000


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_probe_describes_this_machine() -> None:
    machine = probe()
    assert machine.cores >= 1
    assert 0 < machine.available_bytes <= machine.ram_bytes
    assert machine.packages["torch"]
    assert (machine.gpu is None) == (machine.device == "cpu")


def test_hardware_probe_imports_nothing_heavy() -> None:
    code = (
        "import sys; from engine.hardware.probe import probe; probe();"
        "print([m for m in ('torch', 'mlx', 'transformers', 'bitsandbytes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_cgroup_2_limit_excludes_file_cache(tmp_path: Path) -> None:
    """The cache is not counted in what the container uses."""
    own = write(tmp_path / "own", "0::/pod/app\n")
    group = tmp_path / "fs" / "pod" / "app"
    write(group / "memory.max", "4000000000\n")
    write(group / "memory.current", "1500000000\n")
    write(group / "memory.stat", "anon 900000000\ninactive_file 500000000\n")
    write(group.parent / "memory.max", "max\n")
    assert list(group_limits(own, tmp_path / "fs")) == [(4 * GB, GB)]


def test_tighter_limit_of_parent_cgroup_applies(tmp_path: Path) -> None:
    own = write(tmp_path / "own", "0::/pod/app\n")
    write(tmp_path / "fs" / "pod" / "app" / "memory.max", "4000000000\n")
    write(tmp_path / "fs" / "pod" / "memory.max", "2000000000\n")
    assert list(group_limits(own, tmp_path / "fs")) == [(4 * GB, 0), (2 * GB, 0)]


def test_cgroup_1_limit_is_found_at_root(
    tmp_path: Path,
) -> None:
    """The path is the host's, not the container's."""
    own = write(tmp_path / "own", "9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/\n")
    root = tmp_path / "fs" / "memory"
    write(root / "memory.limit_in_bytes", "3000000000\n")
    write(root / "memory.usage_in_bytes", "700000000\n")
    write(root / "memory.stat", "inactive_file 1\ntotal_inactive_file 200000000\n")
    assert list(group_limits(own, tmp_path / "fs")) == [(3 * GB, 500_000_000)]


def test_no_cgroups_mean_no_memory_limits(tmp_path: Path) -> None:
    assert list(group_limits(tmp_path / "absent", tmp_path)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold processes to RLIMIT_AS")
def test_shell_ulimit_is_machines_memory_limit() -> None:
    code = (
        "import psutil; from engine.hardware.memory import memory; "
        "print(*memory(), psutil.Process().memory_info().vms)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * GB, 2 * GB)),
    )
    total, available, in_use = map(int, done.stdout.split())
    assert total == min(2 * GB, memory()[0])
    assert in_use > 0
    assert available <= 2 * GB - in_use


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_vnni\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("", False),
    ],
)
def test_bf16_instructions_are_read_from_cpuinfo(cpuinfo: str, expected: bool) -> None:
    assert flags_have_bf16(cpuinfo) is expected


def test_cpu_build_of_torch_has_no_cuda() -> None:
    assert not built_for_cuda("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert built_for_cuda("debug = False\ncuda: Optional[str] = '12.8'\n")


def test_apple_gpu_has_memory_limit() -> None:
    """Two thirds, three quarters, or what the owner says."""
    assert apple_gpu_bytes(16 << 30, "0") == (16 << 30) * 2 // 3
    assert apple_gpu_bytes(64 << 30, "") == 48 << 30
    assert apple_gpu_bytes(64 << 30, "57344") == 56 << 30


def test_packages_not_installed_are_absent() -> None:
    assert installed(("numpy", "no-such-package-here")).keys() == {"numpy"}


def test_versions_are_those_of_importlib() -> None:
    """Which parses all that a package says of itself; ft's own is installed in place, and has no such file."""
    names = ("torch", "numpy", "ft-studio", "textual")
    assert installed(names) == {name: importlib.metadata.version(name) for name in names}


def test_hidden_gpu_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.nvidia_gpus() == ()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu.nvidia_gpus() == ()


@pytest.mark.parametrize(
    ("devices", "expected"),
    [("0", ("0",)), ("1, GPU-8a1f", ("1", "GPU-8a1f")), ("0,-1,1", ("0",)), ("", ()), ("-1", ())],
)
def test_visible_gpus_end_at_first_invalid(devices: str, expected: tuple[str, ...]) -> None:
    assert gpu.visible(devices) == expected


def test_nvidia_smi_output_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: a program that prints what `nvidia-smi --query-gpu` documents stands in."""
    program = write(tmp_path / "nvidia-smi", '#!/bin/sh\necho "NVIDIA GeForce RTX 3060, 12288, 11800, 8.6"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    one = gpu.Gpu("NVIDIA GeForce RTX 3060", 12288 << 20, 11800 << 20, (8, 6))
    assert gpu.from_smi(("0",)) == (one,)
    write(program, '#!/bin/sh\necho "A, 1, 1, 8.6"\necho "B, 2, 1, 9.0"\n')
    assert [found.name for found in gpu.from_smi()] == ["A", "B"]
    write(program, '#!/bin/sh\necho "No devices were found"\nexit 6\n')
    assert gpu.from_smi() == ()


NVML = r"""
#include <string.h>
/* The calls, as nvml.h declares them: a handle is an opaque pointer, 0 is NVML_SUCCESS. */
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
static int device;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **h) { *h = &device; return i < 2 ? 0 : 2; }
int nvmlDeviceGetHandleByUUID(const char *u, void **h) { *h = &device; return strncmp(u, "GPU-", 4) ? 2 : 0; }
int nvmlDeviceGetName(void *h, char *name, unsigned int n) { strncpy(name, "NVIDIA L4", n); return h != &device; }
int nvmlDeviceGetMemoryInfo(void *h, nvmlMemory_t *m) {
  m->total = 24000000000ULL; m->free = 23000000000ULL; m->used = 1000000000ULL; return h != &device; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 8; *b = 9; return h != &device; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_nvidia_driver_library_is_read(tmp_path: Path) -> None:
    """No GPU here: a library with the functions of nvml.h stands in, so that the calls' types are right."""
    import ctypes

    source = write(tmp_path / "nvml.c", NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "nvml.so", source], check=True)
    library = ctypes.CDLL(str(tmp_path / "nvml.so"))
    expected = gpu.Gpu("NVIDIA L4", 24 * GB, 23 * GB, (8, 9))
    assert gpu.from_nvml(library) == (expected, expected)
    assert gpu.from_nvml(library, ("0",)) == (expected,)
    assert gpu.from_nvml(library, ("GPU-8a1f", "1")) == (expected, expected)
    assert gpu.from_nvml(library, ("3",)) == ()


def test_speed_of_run_informs_next_plan(ft_home: Path) -> None:
    assert speed.known() == {}
    speed.remember(spec_of("peft").speed_key("cpu", "fp32"), 8e13, 1000.0)
    speed.remember(spec_of("unsloth").speed_key("cpu", "bf16"), 2e13, 100.0)
    speed.remember(spec_of("mlx").speed_key("cpu", "fp32"), 1e12, 1000.0)
    assert probe().flops == {"cpu/fp32": 8e10, "cpu/bf16": 2e11, "mlx/cpu/fp32": 1e9}


@pytest.mark.parametrize("content", ["", "[1]", '{"cpu/fp32": "fast", "cpu/bf16": -1}', "\udcff"])
def test_damaged_speed_file_is_ignored(ft_home: Path, content: str) -> None:
    write(ft_home / "cache" / "speed.json", "").write_bytes(content.encode(errors="surrogateescape"))
    assert speed.known() == {}
