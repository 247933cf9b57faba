"""Engines that can serve a model: ft's own, and others where they are installed. Each choice has its reason."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, MachineError
from engine.hardware.probe import probe
from engine.models.adapter_files import read_settings
from engine.serving.loading import Wish

NAMES = ("auto", "ft", "vllm", "llama", "mlx")
PACKAGES = {"vllm": ("vllm", "pip install vllm"), "llama": ("xllamacpp", "pip install xllamacpp"),
            "mlx": ("mlx_lm", "pip install mlx-lm")}  # fmt: skip
LOCALHOST = "127.0.0.1"
"""Where servers listen that stand behind our front."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for the largest rank of an adapter."""


@dataclass(frozen=True)
class Engine:
    """The engine that serves, and the reason why."""

    name: str
    why: str


@dataclass(frozen=True)
class Command:
    """A server of another engine: its words, what it reads on stdin, and what its environment has besides."""

    words: tuple[str, ...]
    given: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def choose(reference: str, wanted: str) -> Engine:
    """The engine for a model. Raises ConfigError where it cannot serve that, MachineError where it is not there."""
    gguf = gguf_of(reference)
    if wanted not in NAMES:
        raise ConfigError(f"--engine {wanted}: there is no such engine.", f"There are: {', '.join(NAMES)}.")
    if gguf is not None and wanted not in ("auto", "llama"):
        raise ConfigError(
            f"--engine {wanted}: it does not read {gguf.name}.", "Leave --engine out: llama.cpp reads GGUF."
        )
    if gguf is None and wanted == "llama":
        raise ConfigError(
            f"--engine llama: {reference} is not a GGUF.", "Make one first: ft export --format gguf"
        )
    if gguf is not None:
        _installed("llama")
        return Engine("llama", "llama.cpp reads GGUF")
    if wanted in PACKAGES:
        _installed(wanted)
        return Engine(wanted, "--engine names it")
    if wanted == "auto" and probe().device == "cuda" and find_spec("vllm"):
        return Engine("vllm", "it is installed, and fastest on CUDA")
    return Engine(
        "ft", "--engine names it" if wanted == "ft" else "it is ft's own, and no other is better here"
    )


def gguf_of(reference: str) -> Path | None:
    """The GGUF that a reference means: a file, or the only one of a folder that is no model of transformers'."""
    path = Path(reference).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path
    if path.is_dir() and not (path / "config.json").is_file():
        found = [*path.glob("*.gguf")]
        return found[0] if len(found) == 1 else None
    return None


def llama(gguf: Path, name: str, port: int, slots: int, key: str) -> Command:
    """llama.cpp's own server, in a process that reads its settings, the key among them, on stdin."""
    asked = {"file": str(gguf), "name": name, "port": port, "slots": slots, "key": key}
    words = (sys.executable, "-P", "-m", "engine.serving.llama_process")
    return Command(words, json.dumps(asked))


def vllm(wish: Wish, folder: Path, port: int, slots: int, key: str) -> Command:
    """vLLM's server; the largest rank of the adapters is told, for it refuses any above 16 otherwise."""
    adapters = {own: model.adapter for own, model in wish.adapters.items() if model.adapter}
    if wish.model.adapter is not None:
        adapters = {wish.name: wish.model.adapter} | adapters
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    words += ["--served-model-name", wish.base_name, "--host", LOCALHOST, "--port", str(port)]
    words += ["--max-num-seqs", str(slots)]
    if adapters:
        words += ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(_rank(adapters))]
        words += ["--lora-modules", *(f"{own}={path}" for own, path in adapters.items())]
    return Command(tuple(words), environment={"VLLM_API_KEY": key})


def _rank(adapters: Mapping[str, Path]) -> int:
    """The least value that vLLM takes for the largest rank of these adapters. Raises ConfigError beyond it."""
    largest = max(_largest(read_settings(path)) for path in adapters.values())
    fitting = [rank for rank in RANKS if rank >= largest]
    if not fitting:
        raise ConfigError(
            f"--engine vllm: an adapter has rank {largest}, and vLLM takes {RANKS[-1]} at most.",
            "Use ft's own: --engine ft",
        )
    return fitting[0]


def _largest(settings: Mapping[str, Any]) -> int:
    return max([int(settings.get("r") or 0), *map(int, (settings.get("rank_pattern") or {}).values())])


def _installed(name: str) -> None:
    package, install = PACKAGES[name]
    if find_spec(package) is None:
        raise MachineError(
            f"--engine {name} needs {package}, which is not installed.", f"Install it: {install}"
        )
