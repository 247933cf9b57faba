"""Training speed and memory against TRL's SFTTrainer: the same model, rows, order, batch and length.

    python benchmarks/train.py [--rows FILE] [--steps 10] [--device auto]
                               [--sides ft ft-system-allocator trl-bf16 trl-fp32]

Every side trains LoRA (rank 16, all linear layers) on the starter in a process of its own, one after the other, on
the GPU where there is one; `--device cpu` hides NVIDIA's from all of them. Needs the extra `bench` (trl, datasets).
Speeds are real tokens, padding left out, over all steps but the first. Memory is the most that the process held, or,
on an NVIDIA GPU, that torch held there.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.models import starter

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
BATCH, LENGTH, RATE, SEED = 4, 512, 2e-4, 7


@dataclass(frozen=True)
class Side:
    """One of those compared: what trains on a file of rows, and the Python and environment that it runs in."""

    train: Callable[[Path], dict[str, Any]]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


def compare(script: str, about: str | None, sides: Mapping[str, Side], steps: int) -> None:
    """The command line of `script`: train with each side in a process of its own, and print the table.

    `steps` is how many there are where the command line does not say.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS, help="alpaca rows as a JSON array")
    parser.add_argument("--steps", type=int, default=steps, help=f"two or more; {steps} where not said")
    parser.add_argument(
        "--device", choices=("auto", "cpu"), default="auto", help="auto: the GPU if there is one"
    )
    parser.add_argument("--sides", nargs="+", choices=list(sides), default=list(sides))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, rows = arguments.child
        print(json.dumps(sides[name].train(Path(rows))))
        return
    if not arguments.rows.is_file():
        sys.exit(f"{arguments.rows} is not here; name a file of alpaca rows with --rows.")
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    starter.ensure()  # here, for the package that brings it need not be where every side runs
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        rows.write_text(json.dumps(json.loads(arguments.rows.read_text())[: BATCH * max(2, arguments.steps)]))
        results = {name: run(script, name, sides[name], rows) for name in arguments.sides}
    print(table(results))


def run(script: str, name: str, side: Side, rows: Path) -> dict[str, Any]:
    """One side in a process of its own; -P, else a script could be taken for the package whose name it has."""
    print(f"training with {name} …", file=sys.stderr, flush=True)
    command = [side.python, "-P", script, "--child", name, str(rows)]
    environment = os.environ | side.environment
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def recipe(rows: Path, backend: str = "peft") -> str:
    return json.dumps(
        {
            "seed": SEED,
            "backend": backend,
            "model": {"base": "starter", "max_seq_length": LENGTH},
            "data": {"train": str(rows), "validation": 0, "packing": True},
            "training": {
                "epochs": 1,
                "effective_batch_size": BATCH,
                "learning_rate": RATE,
                "scheduler": "constant",
                "warmup_ratio": 0.0,
            },
            "checkpoints": {"every": 10_000},
        }
    )


def with_ft(rows: Path, backend: str = "peft") -> dict[str, Any]:
    """Train through the Python API: the real engine process, its own events."""
    import ft
    from engine.runs.directory.events import Memory, Step

    file = rows.with_name("train.yml")
    file.write_text(recipe(rows, backend))
    run = ft.train(file, folder=rows.with_name(f"run-{os.getpid()}"))
    run.wait()
    events = list(run.events(follow=False))
    steps = [event for event in events if isinstance(event, Step)]
    held = [event for event in events if isinstance(event, Memory)]
    assert run.plan is not None
    return {
        "device": run.plan.device,
        "losses": [step.loss for step in steps],
        "tokens": [step.tokens for step in steps],
        "seconds": [step.step_s for step in steps],
        "peak": max(event.device_peak_bytes or event.process_peak_bytes or 0 for event in held),
    }


def in_ft_order(rows: Path, folder: Path) -> tuple[Any, list[int]]:
    """The rows as a `datasets.Dataset` in ft's own order, and the tokens of each step.

    Tokenised by ft, so that both sides see the same tokens with the same ones trained.
    """
    from datasets import Dataset

    from engine.config.load import load_text
    from engine.data.batching import steps_of_epoch
    from engine.data.prepare import prepare

    examples = prepare(load_text(recipe(rows), rows.with_name("train.yml")).config, folder).train
    order = [int(i) for step in steps_of_epoch(examples.lengths, SEED, 0, BATCH) for i in step]
    tokens = examples.lengths[order].reshape(-1, BATCH).sum(1).tolist()
    data = Dataset.from_list(
        [
            {"input_ids": example.input_ids.tolist(), "labels": example.labels.tolist()}
            for example in (examples[i] for i in order)
        ]
    )
    return data, tokens


def trl_settings(output: Path, half: bool) -> Any:
    """The recipe in SFTTrainer's words."""
    import torch
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(output),
        per_device_train_batch_size=BATCH,
        max_length=LENGTH,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        num_train_epochs=1,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        bf16=half,
        use_cpu=not torch.accelerator.is_available(),  # else it refuses bf16 there
        seed=SEED,
        gradient_checkpointing=False,
        completion_only_loss=True,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
    )


def with_trl(rows: Path, half: bool) -> dict[str, Any]:
    """Train with SFTTrainer on the rows in ft's own order."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.models.resolve import resolve

    folder = resolve("starter").folder
    data, tokens = in_ft_order(rows, folder)
    return {"tokens": tokens} | timed_training(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if half else torch.float32),
        args=trl_settings(rows.with_name("trl"), half),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def timed_training(**settings: Any) -> dict[str, Any]:
    """Results of SFTTrainer with these settings: losses, seconds of each step, device, peak memory in bytes."""
    import torch
    from transformers import TrainerCallback
    from trl import SFTTrainer

    from engine.backends.torch.memory import Gauge

    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()  # a GPU is still at work when the call returns
            seconds.append(time.perf_counter() - self.started)

    trainer = SFTTrainer(callbacks=[Clock()], **settings)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    device = trainer.model.device
    held = Gauge(device).reading()
    peak = held.device_peak_bytes or held.process_peak_bytes
    return {"losses": losses, "seconds": seconds, "device": device.type, "peak": peak}


def table(results: dict[str, dict[str, Any]]) -> str:
    """A Markdown table; the first side is what the others are compared with."""
    base = next(iter(results.values()))
    lines = [
        "| side | tokens/s | ft is faster by | peak memory | ft's is | largest loss difference | mean |",
        "|---|---|---|---|---|---|---|",
    ]
    speed = {side: sum(r["tokens"][1:]) / sum(r["seconds"][1:]) for side, r in results.items()}
    for side, result in results.items():
        differences = [abs(a - b) for a, b in zip(result["losses"], base["losses"], strict=True)]
        lines.append(
            f"| {side}, on {result['device']} | {speed[side]:.0f} | {speed[next(iter(results))] / speed[side]:.1f}× "
            f"| {result['peak'] / 1e9:.2f} GB | {base['peak'] / result['peak']:.2f} of it "
            f"| {max(differences):.3f} | {statistics.mean(differences):.3f} |"
        )
    losses = [f"{side}: " + " ".join(f"{loss:.3f}" for loss in r["losses"]) for side, r in results.items()]
    return "\n".join([*lines, "", "losses by step", *losses, f"({os.cpu_count()} cores)"])


SIDES = {
    "ft": Side(with_ft),
    "ft-system-allocator": Side(with_ft, environment={"FT_ALLOCATOR": "system"}),
    "trl-bf16": Side(lambda rows: with_trl(rows, half=True)),
    "trl-fp32": Side(lambda rows: with_trl(rows, half=False)),
}

if __name__ == "__main__":
    compare(__file__, __doc__, SIDES, steps=10)
