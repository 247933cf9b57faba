"""A large file of chat to trained tokens on disk: `ft` against `datasets.map`, TRL's preparation and mlx-lm's loading.

    python benchmarks/prepare.py [--rows 1000000] [--sides ft ft-again ft-check map trl mlx-lm]

The rows are made by the script: exchanges of alpaca rows (`--from FILE`, a JSON array), each with a number of its own.
Every side is a process of its own that reads the same file with the same tokenizer and marks the answer's tokens as
trained. `map` is one batched `datasets.map` in one process, whose tokenizer uses all cores as ft's does; `trl` is what
SFTTrainer does before it trains; `mlx-lm` holds all rows in memory. `ft-again` opens what `ft` has kept. `ft-check`
makes the same with the lint beside it, as a run and `ft data check` do; its column says what the lint took of the
processor's time.
Needs the extra `bench`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.tokenise import BATCH, DEMO, masked  # noqa: E402
from engine.models.resolve import resolve  # noqa: E402

LENGTH = 2048
QUIET = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "true"}


def main() -> None:
    """Make the file, run the sides one after the other, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--from", type=Path, default=DEMO, dest="source", help="alpaca rows as a JSON array")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, file, model = options.child
        print(json.dumps(measured(SIDES[side], Path(file), Path(model))))
        return
    if not options.source.is_file():
        sys.exit(f"{options.source} is not here; name a file of alpaca rows with --from.")
    model = resolve("starter").folder
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        make(file, options.source, options.rows)
        print(f"{options.rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores\n")
        print(
            "| side | seconds | against ft | processor s | of them lint | peak memory | examples | tokens |"
        )
        print("|---|---|---|---|---|---|---|---|")
        first = 0.0
        for side in options.sides:
            result = child(side, file, model)
            first = first or result["seconds"]
            times = result["seconds"] / first
            lint = f"{result['lint']:.1f}" if result["lint"] else ""
            print(
                f"| {side} | {result['seconds']:.1f} | {times:.2f}× | {result['processor']:.1f} | {lint} "
                f"| {result['peak'] / 1e6:,.0f} MB | {result['examples']:,} | {result['tokens']:,} |", flush=True,
            )  # fmt: skip


def make(file: Path, source: Path, count: int) -> None:
    """Write the rows as prompt and completion, both lists of messages: a format that all sides read."""
    rows = json.loads(source.read_text(encoding="utf-8"))
    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            row = rows[number % len(rows)]
            question = f"{number}. {row['instruction']}\n{row.get('input', '')}".strip()
            turns = {"user": question, "assistant": row["output"]}
            prompt, completion = ([{"role": role, "content": text}] for role, text in turns.items())
            out.write(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")


def child(side: str, file: Path, model: Path) -> dict[str, Any]:
    """One side in a process of its own, with caches of its own; ft keeps its for `ft-again`."""
    mine = str(file.with_name(side.removesuffix("-again")))
    environment = os.environ | {"FT_HOME": mine, "HF_HOME": mine} | QUIET
    command = [sys.executable, "-P", __file__, "--child", side, str(file), str(model)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=ROOT)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measured(side: Callable[[Path, Path], tuple[int, ...]], file: Path, model: Path) -> dict[str, Any]:
    """Seconds from the file to its tokens, with the imports that this takes, and the process's peak memory."""
    started, before = time.perf_counter(), time.process_time()
    examples, tokens, *lint = side(file, model)
    seconds, processor = time.perf_counter() - started, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {"seconds": seconds, "processor": processor, "peak": peak, "examples": examples, "tokens": tokens}
    return found | {"lint": lint[0] / 1e9 if lint else None}


def with_ft(file: Path, model: Path, lint: bool = False) -> tuple[int, int]:
    from engine.config.schema import TrainConfig
    from engine.data.prepare import prepare

    about = {
        "model": {"base": "starter", "max_seq_length": LENGTH},
        "data": {"train": str(file), "validation": 0},
    }
    train = prepare(TrainConfig.model_validate(about), model, lint=lint).train
    return len(train), len(train.tokens)


def with_check(file: Path, model: Path) -> tuple[int, ...]:
    """ft with the lint; the third number is the processor's nanoseconds in it."""
    from engine.data.lint.linter import Linter

    spent = 0

    def timed(does: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            nonlocal spent
            started = time.thread_time_ns()
            try:
                return does(*given)
            finally:
                spent += time.thread_time_ns() - started

        return call

    for name in ("add", "findings"):
        setattr(Linter, name, timed(getattr(Linter, name)))
    return *with_ft(file, model, lint=True), spent


def with_map(file: Path, model: Path) -> tuple[int, int]:
    import datasets
    from transformers import AutoTokenizer

    loaded = datasets.load_dataset("json", data_files=str(file), split="train")
    mapped = loaded.map(
        _pairs, batched=True, batch_size=BATCH, remove_columns=loaded.column_names,
        fn_kwargs={"tokenizer": AutoTokenizer.from_pretrained(model)},
    )  # fmt: skip
    return len(mapped), _counted(mapped)


def _pairs(batch: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    pairs = zip(batch["prompt"], batch["completion"], strict=True)
    return masked({"messages": [[*prompt, *completion] for prompt, completion in pairs]}, tokenizer)


def with_trl(file: Path, model: Path) -> tuple[int, int]:
    import datasets
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    small = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(output_dir=folder, max_length=LENGTH, use_cpu=True, bf16=False, report_to=[])
        data = datasets.load_dataset("json", data_files=str(file), split="train")
        trainer = SFTTrainer(
            LlamaForCausalLM(small), settings, train_dataset=data, processing_class=tokenizer
        )
        return len(trainer.train_dataset), _counted(trainer.train_dataset)


def _counted(data: Any) -> int:
    import pyarrow.compute

    column = data.with_format("arrow").data.column("input_ids")
    return int(pyarrow.compute.sum(pyarrow.compute.list_value_length(column)).as_py())


def with_mlx_lm(file: Path, model: Path) -> tuple[int, int]:
    from mlx_lm.tuner.datasets import ChatDataset
    from transformers import AutoTokenizer

    with file.open(encoding="utf-8") as lines:
        parsed = map(json.loads, lines)
        rows = [{"messages": [*row["prompt"], *row["completion"]]} for row in parsed]
    data = ChatDataset(rows, AutoTokenizer.from_pretrained(model), mask_prompt=True)
    held = [data.process(row) for row in rows]
    return len(held), sum(len(ids) for ids, _ in held)


SIDES: dict[str, Callable[[Path, Path], tuple[int, ...]]] = {
    "ft": with_ft,
    "ft-again": with_ft,
    "ft-check": with_check,
    "map": with_map,
    "trl": with_trl,
    "mlx-lm": with_mlx_lm,
}

if __name__ == "__main__":
    main()
