"""Speed and memory of training on MLX against `mlx_lm.lora`: the same tiny model, rows, batch and adapter.

    python benchmarks/mlx.py [--rows FILE] [--steps 32] [--sides ft ft-packed ft-system-allocator mlx-lm-alone mlx-lm]

Every side trains LoRA (rank 16, all linear layers, prompts untrained) in a process of its own, one after the other:
ft's engine with the allocator that its supervisor gives it, and mlx-lm's own command line. Both pass over the rows
twice, and the second pass is measured, when every shape has been compiled. Speeds are real tokens, padding left out;
memory is the process's largest. transformers brings torch into mlx-lm's process where it is installed, as here;
`mlx-lm-alone` cannot find it, as where nothing but mlx-lm is installed.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
BATCH, LENGTH, RATE, SEED, RANK, ALPHA = 4, 512, 2e-4, 7, 16, 32
REPORT = re.compile(r"^ *\d+ +([\d.]+) .*\d", re.MULTILINE)
"""A line of mlx-lm's table: iteration, training loss, and more."""
PAINT = re.compile(r"\x1b\[[\d;]*m")
SIDES = ("ft", "ft-packed", "ft-system-allocator", "mlx-lm-alone", "mlx-lm")
ALONE = (
    "import runpy, sys\n"
    "sys.modules['torch'] = None\n"
    "runpy.run_module('mlx_lm', run_name='__main__', alter_sys=True)"
)
Result = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="alpaca rows as a JSON array")
    parser.add_argument("--steps", type=int, default=32, help="steps of one pass over the rows")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    arguments = parser.parse_args()
    if not arguments.rows.is_file():
        sys.exit(f"{arguments.rows} is not here; name a file of alpaca rows with --rows.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FT_HOME"] = str(folder / "home")
        # A process counts its parent's memory as its own peak, from before it became another program.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
            rows = json.loads(arguments.rows.read_text())
            model, tokens = apart.submit(prepared, rows, arguments.steps, folder).result()
        results = {}
        for side in arguments.sides:
            print(f"training with {side} …", file=sys.stderr, flush=True)
            train = with_mlx_lm if side.startswith("mlx-lm") else with_ft
            results[side] = train(side, model, arguments.steps, tokens, folder)
    print(table(results))


def prepared(rows: list[dict[str, str]], steps: int, folder: Path) -> tuple[Path, int]:
    """The tiny model, a chat file of rows of mixed length that fit whole, and their tokens in all."""
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import Message
    from tests.tiny import make_tiny_model

    model = make_tiny_model(folder / "tiny")
    tokenizer = Tokenizer.load(model)
    chats, total = [], 0
    for row in rows:
        asked = "\n\n".join(filter(None, (row["instruction"], row.get("input"))))
        turns: list[Any] = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": row["output"]},
        ]
        size = len(tokenizer.prompt_ids([Message(**turn) for turn in turns]))
        if size <= LENGTH - 8 and len(chats) < steps * BATCH:
            chats.append(json.dumps({"messages": turns}))
            total += size
    if len(chats) < steps * BATCH:
        sys.exit(f"Only {len(chats)} rows are short enough: try --steps {len(chats) // BATCH}.")
    (folder / "train.jsonl").write_text("\n".join(chats) + "\n")
    return model, total


def with_ft(side: str, model: Path, steps: int, tokens: int, folder: Path) -> Result:
    """ft's engine process on a run of its own."""
    from engine.config.load import load_text
    from engine.hardware.allocator import preload
    from engine.runs.directory.create import create_run
    from engine.runs.directory.events import Step

    recipe = {
        "name": side,
        "seed": SEED,
        "backend": "mlx",
        "model": {"base": str(model), "max_seq_length": LENGTH},
        "data": {"train": str(folder / "train.jsonl"), "validation": 0, "packing": side == "ft-packed"},
        "adapter": {"rank": RANK, "alpha": ALPHA},
        "training": {
            "epochs": 2, "batch_size": BATCH, "effective_batch_size": BATCH, "learning_rate": RATE,
            "scheduler": "constant", "warmup_ratio": 0.0, "gradient_checkpointing": False,
        },
        "checkpoints": {"every": 10_000},
    }  # fmt: skip
    run = create_run(load_text(json.dumps(recipe), folder / "train.yml"))
    command = [sys.executable, "-P", "-m", "engine.process.worker", str(run.folder)]
    environment = {} if side == "ft-system-allocator" else preload()
    peak, log, _ = watched(command, folder / f"{side}.log", environment)
    done = [event for event in run.events() if isinstance(event, Step)]
    if len(done) != 2 * steps:
        sys.exit(log)
    second = done[steps:]
    first = sum(step.step_s for step in done[:steps])
    seconds = sum(step.step_s for step in second)
    return {"tokens": sum(step.tokens for step in second), "seconds": seconds, "first": first, "peak": peak,
            "loss": sum(step.loss for step in second) / steps}  # fmt: skip


def with_mlx_lm(side: str, model: Path, steps: int, tokens: int, folder: Path) -> Result:
    """mlx-lm's command line on the same rows; it reports once a pass."""
    settings = {
        "lora_parameters": {"rank": RANK, "scale": ALPHA / RANK, "dropout": 0.0},
        "optimizer": "adamw",
        "optimizer_config": {"adamw": {"bias_correction": True, "weight_decay": 0.01}},
    }
    (folder / "lora.yaml").write_text(json.dumps(settings))
    program = ["-c", ALONE] if side == "mlx-lm-alone" else ["-m", "mlx_lm"]
    command = [
        sys.executable, *program, "lora", "--model", str(model), "--train", "--data", str(folder),
        "--adapter-path", str(folder / "adapter"), "--batch-size", str(BATCH), "--iters", str(2 * steps),
        "--num-layers", "-1", "--learning-rate", str(RATE), "--max-seq-length", str(LENGTH), "--mask-prompt",
        "--steps-per-report", str(steps), "--save-every", "100000", "--seed", str(SEED),
        "-c", str(folder / "lora.yaml"),
    ]  # fmt: skip
    peak, log, passes = watched(command, folder / f"{side}.log", {})
    if len(passes) != 2:
        sys.exit(log)
    first, second = passes
    loss = re.findall(REPORT, PAINT.sub("", log))[-1]
    return {"tokens": tokens, "seconds": second, "first": first, "peak": peak, "loss": float(loss)}


def watched(command: list[str], file: Path, more: dict[str, str]) -> tuple[int, str, list[float]]:
    """Run a command to its end; its largest resident memory in bytes, all that it said, and the seconds between
    its reports (the first counts from the start of training)."""
    seen: list[float] = []
    with file.open("wb") as log:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"} | more
        child = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)
        done = 0
        while not done:
            time.sleep(0.05)
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            text = PAINT.sub("", file.read_text(errors="replace"))
            reports = ("Trainable parameters" in text) + len(re.findall(REPORT, text))
            seen += [time.perf_counter()] * (reports - len(seen))
    if status:
        sys.exit(file.read_text())
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, file.read_text(), [later - sooner for sooner, later in itertools.pairwise(seen)]


def table(results: dict[str, Result]) -> str:
    """A Markdown table; the last side is what the others are compared with."""
    base: dict[str, Any] = list(results.values())[-1]
    lines = [
        "| side | tokens/s | against the last | first pass | peak memory | mean loss |",
        "|---|---|---|---|---|---|",
    ]
    for side, result in results.items():
        speed, other = (r["tokens"] / r["seconds"] for r in (result, base))
        lines.append(
            f"| {side} | {speed:.0f} | {speed / other:.2f}× | {result['first']:.1f} s | "
            f"{result['peak'] / 1e6:.0f} MB | {result['loss']:.3f} |"
        )
    return "\n".join([*lines, f"({os.cpu_count()} cores)"])


if __name__ == "__main__":
    main()
