"""Speed and memory of DPO against TRL's DPOTrainer: the same model, tokens and steps, the reference pass counted.

    python benchmarks/preference.py [--rows FILE] [--pairs 16] [--epochs 2] [--sides ft trl-fp32 trl-bf16]

Every side trains LoRA (rank 16, all linear layers) on the starter in a process of its own, one after the other. Half
of a row's tokens are its prompt. TRL computes the reference's log-probabilities before training, as ft does
(`precompute_ref_log_probs`). The time is that of the reference pass and all steps; memory is the most that the
process held, or, on an NVIDIA GPU, that torch held there. Needs the extra `bench` (trl, datasets).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.train import LENGTH, RATE, ROWS, SEED, Side, run  # noqa: E402
from engine.models import starter  # noqa: E402

BATCH, BETA = 4, 0.1


def write_pairs(source: Path, count: int, size: int, target: Path) -> None:
    """Pairs out of the answers of alpaca rows: a prompt of `size` words, and two ways to go on that have as many."""
    words = " ".join(row["output"] for row in json.loads(source.read_text())).split()
    if len(words) < 3 * size * count:
        sys.exit(
            f"{source} has {len(words)} words, and the pairs take {3 * size * count}: name a larger --rows"
        )
    parts = iter(" ".join(words[start : start + size]) for start in range(0, 3 * size * count, size))
    names = ("prompt", "chosen", "rejected")
    lines = (json.dumps({name: next(parts) for name in names}) for _ in range(count))
    target.write_text("".join(f"{line}\n" for line in lines))


def recipe(rows: Path, epochs: int) -> str:
    return json.dumps(
        {
            "seed": SEED,
            "backend": "peft",
            "model": {"base": "starter", "max_seq_length": LENGTH},
            "data": {"train": str(rows), "validation": 0},
            "training": {
                "method": "dpo",
                "epochs": epochs,
                "effective_batch_size": BATCH,
                "learning_rate": RATE,
                "scheduler": "constant",
                "warmup_ratio": 0.0,
            },
            "dpo": {"beta": BETA},
            "checkpoints": {"every": 10_000},
        }
    )


def with_ft(rows: Path) -> dict[str, Any]:
    """Train through the Python API: the real engine process, its own events."""
    import ft
    from engine.runs.directory.events import Memory, Phase, Step
    from engine.training.comparison import NOTE

    file = rows.with_name("train.yml")
    file.write_text(recipe(rows, epochs_of(rows)))
    run_ = ft.train(file, folder=rows.with_name(f"run-{os.getpid()}"))
    run_.wait()
    events = list(run_.events(follow=False))
    begun = next(event.t for event in events if isinstance(event, Phase) and event.note == NOTE)
    steps = [event for event in events if isinstance(event, Step)]
    held = [event for event in events if isinstance(event, Memory)]
    return {
        "losses": [step.loss for step in steps],
        "seconds": steps[-1].t - begun,
        "peak": max(event.device_peak_bytes or event.process_peak_bytes or 0 for event in held),
    }


def with_trl(rows: Path, half: bool) -> dict[str, Any]:
    """Train with DPOTrainer on the same tokens."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from engine.backends.torch.memory import Gauge
    from engine.config.load import load_text
    from engine.data.prepare import prepare
    from engine.models.resolve import resolve

    folder = resolve("starter").folder
    examples = prepare(load_text(recipe(rows, 1), rows.with_name("train.yml")).config, folder).train
    begun: list[float] = []

    class Trainer(DPOTrainer):  # type: ignore[misc]
        """With rows that are tokens already, and a clock that starts with the reference pass."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *given: Any) -> Any:
            begun.append(time.perf_counter())
            return super()._precompute_ref_logps(*given)

    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if half else torch.float32),
        args=DPOConfig(
            output_dir=str(rows.with_name("trl")), per_device_train_batch_size=BATCH, max_length=LENGTH,
            learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0, beta=BETA,
            num_train_epochs=epochs_of(rows), logging_steps=1, save_strategy="no", report_to=[], bf16=half,
            use_cpu=not torch.accelerator.is_available(), seed=SEED, gradient_checkpointing=False,
            precompute_ref_log_probs=True,
        ),
        train_dataset=Dataset.from_list(tokens_of(examples)),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    seconds = time.perf_counter() - begun[0]
    held = Gauge(trainer.model.device).reading()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "seconds": seconds, "peak": held.device_peak_bytes or held.process_peak_bytes}


def tokens_of(examples: Any) -> list[dict[str, list[int]]]:
    """Pairs as DPOTrainer's collator takes them."""
    found = []
    for first in range(0, len(examples), 2):
        chosen, rejected = examples[first], examples[first + 1]
        prompt = int((chosen.labels >= 0).argmax())
        sides = {"prompt": chosen.input_ids[:prompt], "chosen": chosen.input_ids[prompt:]}
        sides["rejected"] = rejected.input_ids[prompt:]
        found.append({f"{name}_ids": ids.tolist() for name, ids in sides.items()})
    return found


def epochs_of(rows: Path) -> int:
    return int(rows.stem.rpartition("-")[2])


def table(results: dict[str, dict[str, Any]], pairs: int) -> str:
    """A Markdown table; the first side is what the others are compared with."""
    base = next(iter(results.values()))
    lines = [
        "| side | pairs/s | ft is faster by | peak memory | ft's is | last loss |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {side} | {pairs / one['seconds']:.2f} | {one['seconds'] / base['seconds']:.1f}× "
        f"| {one['peak'] / 1e6:,.0f} MB | {base['peak'] / one['peak']:.2f} of it | {one['losses'][-1]:.3f} |"
        for side, one in results.items()
    ]
    return "\n".join([*lines, f"({os.cpu_count()} cores)"])


SIDES = {
    "ft": Side(with_ft),
    "trl-fp32": Side(lambda rows: with_trl(rows, half=False)),
    "trl-bf16": Side(lambda rows: with_trl(rows, half=True)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="alpaca rows as a JSON array")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--words", type=int, default=80, help="words of a prompt, and of each answer")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, rows = arguments.child
        print(json.dumps(SIDES[name].train(Path(rows))))
        return
    if not arguments.rows.is_file():
        sys.exit(f"{arguments.rows} is not here; name a file of alpaca rows with --rows.")
    starter.ensure()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FT_HOME"] = os.environ.get("FT_HOME", str(Path(folder) / "home"))
        rows = Path(folder) / f"pairs-{arguments.epochs}.jsonl"
        write_pairs(arguments.rows, arguments.pairs, arguments.words, rows)
        results = {name: run(__file__, name, SIDES[name], rows) for name in arguments.sides}
    print(table(results, arguments.pairs * arguments.epochs))


if __name__ == "__main__":
    main()
