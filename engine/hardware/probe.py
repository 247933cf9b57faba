"""The machine: devices, memory and packages, found without importing torch or mlx. What cannot be read is absent."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine import python_source
from engine.hardware import speed
from engine.hardware.gpu import Gpu, nvidia_gpus
from engine.hardware.memory import memory

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "flash_attn",
    "liger_kernel",
    "unsloth",
    "mlx",
    "mlx_lm",
    "mlx_cpu",
    "mlx_train_perf",
)
"""Packages whose presence changes a plan."""
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Flags in /proc/cpuinfo of CPUs that multiply bf16 in hardware (x86, x86, Arm)."""


@dataclass(frozen=True)
class Machine:
    """The machine that trains. Memory is in bytes, under the limits of the container and the shell."""

    system: str
    cpu: str
    cores: int
    """Cores that this process may use."""
    ram_bytes: int
    available_bytes: int
    bf16: bool
    """The CPU has bf16 instructions; for a GPU, its compute capability says so."""
    device: Literal["cpu", "cuda", "mps"]
    """The device that trains; on more than one GPU, the kind of it."""
    gpus: tuple[Gpu, ...]
    """GPUs that this process may use, in the driver's order; training is on the first."""
    packages: Mapping[str, str]
    """Versions of the installed packages among `PACKAGES`."""
    flops: Mapping[str, float] = field(default_factory=dict)
    """FLOP/s that finished runs reached here, by `BackendSpec.speed_key`."""
    mlx_architectures: frozenset[str] = frozenset()
    """Kinds of models (`model_type`) that the installed mlx-lm has code for."""
    mlx_verified: frozenset[str] = frozenset()
    """Versions of MLX that the installed mlx-train-perf has verified its kernels for."""

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that trains; None where there is none."""
        return self.gpus[0] if self.gpus else None

    def has(self, package: str) -> bool:
        """Return True if a package is installed; one that is not among `PACKAGES` is looked up now."""
        return package in self.packages or (package not in PACKAGES and bool(installed((package,))))


def probe() -> Machine:
    """Probe this machine: takes about 20 ms and imports nothing heavy."""
    packages = installed(PACKAGES)
    ram, available = memory()
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    nvidia = nvidia_gpus() if torch_has_cuda() else ()
    gpus = nvidia
    if apple and not nvidia:
        total = apple_gpu_bytes(ram, _sysctl("iogpu.wired_limit_mb"))
        gpus = (Gpu(cpu_name(), total, min(total, available)),)
    return Machine(
        system=platform.system(),
        cpu=cpu_name(),
        cores=usable_cores(),
        ram_bytes=ram,
        available_bytes=available,
        bf16=cpu_has_bf16(),
        device="cuda" if nvidia else "mps" if apple else "cpu",
        gpus=gpus,
        packages=packages,
        flops=speed.known(),
        mlx_architectures=mlx_architectures(),
        mlx_verified=mlx_verified(),
    )


def installed(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = _version(importlib.metadata.distribution(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _version(package: importlib.metadata.Distribution) -> str:
    """Its version, from the head of its metadata: importlib would parse all of it, a README of pages among it."""
    head = (package.read_text("METADATA") or "").partition("\n\n")[0]
    found = re.search(r"^Version: (\S+)$", head, re.MULTILINE)
    return found[1] if found else package.version


MLX_ENDING = {"olmo"}
"""Modules of mlx-lm that call `sys.exit` where a package of their own is missing. With it they would not load what
transformers has written either (findings/mlx_lm_olmo_exit.sh)."""


def mlx_architectures() -> frozenset[str]:
    """Kinds of models that the installed mlx-lm knows, read from its folder without importing it.

    It has a module for each in `mlx_lm/models/`, and a table of kinds that share one in `mlx_lm/utils.py`. Left out are
    those that end the program.
    """
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or spec.origin is None:
        return frozenset()
    package = Path(spec.origin).parent
    own = {path.stem for path in (package / "models").glob("*.py")} - MLX_ENDING
    table = re.search(
        r"^MODEL_REMAPPING = (\{.*?^\})", (package / "utils.py").read_text(encoding="utf-8"), re.M | re.S
    )
    shared = python_source.literal(table[1]) if table else {}
    return frozenset(own | {kind for kind, module in shared.items() if module in own})


def mlx_verified() -> frozenset[str]:
    """Versions of MLX on mlx-train-perf's own list, read from its folder without importing it."""
    spec = importlib.util.find_spec("mlx_train_perf")
    if spec is None or spec.origin is None:
        return frozenset()
    file = Path(spec.origin).with_name("_compat.py")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(r"^VERIFIED_MLX_VERSIONS\b[^=]*=[^{]*(\{[^}]*\})", text, re.MULTILINE)
    return frozenset(python_source.literal(found[1])) if found else frozenset()


def torch_has_cuda() -> bool:
    """Return True if the installed torch was built for CUDA, as its `version.py` says, without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.exists() and built_for_cuda(version.read_text())


def built_for_cuda(version_py: str) -> bool:
    """`cuda: Optional[str] = '12.8'` says yes, `= None` says no."""
    return re.search(r"^cuda\b.*=\s*['\"]", version_py, re.MULTILINE) is not None


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_has_bf16() -> bool:
    """Return True if bf16 products are computed in hardware; without it they are several times slower than fp32."""
    if platform.system() == "Darwin":
        return _sysctl("hw.optional.arm.FEAT_BF16") == "1"
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and flags_have_bf16(cpuinfo.read_text())


def flags_have_bf16(cpuinfo: str) -> bool:
    """Read /proc/cpuinfo's `flags` (x86) or `Features` (Arm) of the first core."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return found is not None and not BF16_FLAGS.isdisjoint(found[1].split())


def cpu_name() -> str:
    """The CPU's name, as its maker writes it."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return found[1].strip() if found else platform.machine()


def apple_gpu_bytes(ram: int, wired_limit_mb: str) -> int:
    """Memory that Metal recommends a process to hold (`recommendedMaxWorkingSetSize`).

    Seen on Macs: two thirds of the memory below 36 GB, three quarters from there on; the owner may have
    set another limit with `sysctl iogpu.wired_limit_mb`, 0 meaning none.
    """
    if wired_limit_mb.isdigit() and int(wired_limit_mb) > 0:
        return int(wired_limit_mb) << 20
    return ram * 3 // 4 if ram >= 36 << 30 else ram * 2 // 3


def _sysctl(name: str) -> str:
    """A value of macOS's `sysctl`; empty where there is none, as on other systems."""
    if platform.system() != "Darwin":
        return ""
    answer = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
