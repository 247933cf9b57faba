"""Breakdown of one training step, for each backend: the share of its time that each part takes.

    python benchmarks/step_profile.py [--backends peft unsloth mlx] [--steps 3] [--rows 8] [--device auto]

LoRA (rank 16, all linear layers) on the starter's rows, through ft's own backends, each in a process of its own, one
after the other, on the GPU where there is one. The model is the starter, but for MLX on a CPU, which is slow: there it
is the tests' tiny Llama (100k parameters, with a tokenizer of its own), unless `--mlx-model starter` is given.
Unsloth runs in .venv-unsloth (`make test-unsloth` makes it); a backend that is not installed is left out with a word.
The first step warms up and is not counted. How parts are told apart is said in profile_torch.py and profile_mlx.py;
`arithmetic` is the share of the operations that the plan's formula counts for the step (engine/planning/speed.py).
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.profile_parts import ADAPTER, ATTENTION, FROZEN, HEAD, PARTS, SEED, Work  # noqa: E402
from benchmarks.step_cost import RANK, load_of  # noqa: E402
from engine.data.types import Batch  # noqa: E402
from engine.models import starter  # noqa: E402
from engine.models.sizing import shape_of  # noqa: E402
from engine.planning.speed import flops  # noqa: E402

UNSLOTH = ROOT / ".venv-unsloth" / "bin" / "python"
BACKENDS = ("peft", "unsloth", "mlx")
TINY_STEPS = 10
"""Steps of the tiny model for one of the starter: they take a fraction of a second, in which noise is much."""


def prepared(backend: str, rows: int, folder: Path) -> Work:
    """Load the model with a fresh adapter, as the engine does."""
    from engine.backends import load_trainer
    from engine.config.load import load_text
    from engine.data.prepare import prepare
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.hardware.probe import probe
    from engine.planning.backend_choice import choose_backend
    from engine.planning.planner import make_plan
    from engine.planning.row_stats import RowStats

    recipe = {
        "seed": SEED,
        "backend": backend,
        "model": {"base": str(folder), "max_seq_length": 512},
        "data": {"train": "starter", "validation": 0},
        "adapter": {"rank": RANK, "dropout": 0.0},
        "training": {"effective_batch_size": rows, "batch_size": rows, "gradient_checkpointing": False},
    }
    config = load_text(json.dumps(recipe), Path("train.yml")).config
    examples = prepare(config, folder).train
    machine, shape = probe(), shape_of(folder)
    chosen = choose_backend(machine, config, shape)
    plan = make_plan(config, machine, chosen, shape, RowStats.of(examples))
    return Work(load_trainer(plan, config, folder), plan, examples, Tokenizer.load(folder).pad_id)


def measured(backend: str, model: str, steps: int, rows: int) -> dict[str, Any]:
    """In the child: seconds of each part over all steps, and what the steps were."""
    if backend == "unsloth":
        import engine.backends.unsloth.causal_lm  # noqa: F401 - before transformers, which it changes
    folder = starter.folder()
    if model == "tiny":
        from tests.tiny import make_tiny_model

        folder = make_tiny_model(Path("tiny").absolute())
    work = prepared(backend, rows, folder)
    if backend == "mlx":
        from benchmarks.profile_mlx import profiled
    else:
        from benchmarks.profile_torch import profiled
    parts = profiled(work, steps)
    batches = [batch for step in range(1, steps + 1) for batch in work.batches(step)]
    tokens = sum(len(batch.tokens) for batch in batches)
    return {
        "parts": parts,
        "arithmetic": arithmetic(folder, batches),
        "model": model,
        "steps": steps,
        "about": f"{work.plan.compute_dtype} on {work.plan.device}, {tokens / steps:.0f} tokens a step",
    }


def arithmetic(folder: Path, batches: list[Batch]) -> dict[str, float]:
    """Operations of those batches by part: what the plan's formula loses when the part is left out."""
    lengths = [n for batch in batches for n in batch.lengths.tolist()]
    trained = sum(batch.trained_tokens for batch in batches)
    square = sum(n * n for n in lengths) / sum(lengths)
    shape, tokens = shape_of(folder), sum(lengths)
    load = load_of(shape, "none")
    whole = flops(shape, load, tokens, trained, square)
    found = {
        ADAPTER: whole - flops(shape, replace(load, trained=0), tokens, trained, square),
        HEAD: whole - flops(shape, load, tokens, 0, square),
        ATTENTION: whole - flops(shape, load, tokens, trained, 0),
    }
    return {FROZEN: whole - sum(found.values())} | found


def python_of(backend: str) -> str | None:
    """The Python that has the backend; None where none has."""
    if backend == "unsloth":
        return str(UNSLOTH) if UNSLOTH.exists() else None
    return sys.executable if importlib.util.find_spec("mlx_lm" if backend == "mlx" else "peft") else None


def shares(parts: dict[str, float]) -> list[float]:
    """Per cent of each of PARTS, in whole tenths that add up to 100: the largest takes what rounding leaves."""
    total = sum(parts.values())
    rounded = [round(100 * parts.get(part, 0.0) / total, 1) for part in PARTS]
    largest = rounded.index(max(rounded))
    rounded[largest] = round(rounded[largest] + 100 - sum(rounded), 1)
    return rounded


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table, and what its columns were measured on."""
    columns: dict[str, list[float]] = {}
    for name, result in results.items():
        columns.setdefault(f"arithmetic, {result['model']}", shares(result["arithmetic"]))
        columns[f"{name}, {result['model']}"] = shares(result["parts"])
    lines = [f"| part | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for index, part in enumerate(PARTS):
        lines.append(f"| {part} | {' | '.join(f'{column[index]:.1f} %' for column in columns.values())} |")
    lines.append("")
    for name, result in results.items():
        seconds, work = result["parts"], result["arithmetic"]
        whole = sum(seconds.values())
        lines.append(
            f"- {name}: {result['about']}, {whole / result['steps']:.2f} s a step; "
            f"{sum(work.values()) / whole / 1e9:.1f} GFLOP/s in all, "
            f"{work[FROZEN] / seconds[FROZEN] / 1e9:.1f} in the products with frozen weights."
        )
    return "\n".join([*lines, f"({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    usual = "starter" if sys.platform == "darwin" else "tiny"
    parser.add_argument("--mlx-model", choices=("starter", "tiny"), default=usual)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8, help="examples of one step")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="cpu hides NVIDIA's GPUs")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        backend, model = arguments.child
        print(json.dumps(measured(backend, model, arguments.steps, arguments.rows)))
        return
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    starter.ensure()  # here, for the package that brings it need not be where every backend runs
    results = {}
    for backend in arguments.backends:
        if (python := python_of(backend)) is None:
            print(f"{backend} is not installed here and left out", file=sys.stderr)
            continue
        print(f"taking apart a step of {backend} …", file=sys.stderr, flush=True)
        model = arguments.mlx_model if backend == "mlx" else "starter"
        steps = arguments.steps * (TINY_STEPS if model == "tiny" else 1)
        sizes = ["--steps", str(steps), "--rows", str(arguments.rows)]
        command = [python, "-P", str(Path(__file__).resolve()), "--child", backend, model, *sizes]
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=scratch)
        results[backend] = json.loads(done.stdout.splitlines()[-1])
    print(table(results))


if __name__ == "__main__":
    main()
