"""Predicted against measured peak memory: `python benchmarks/memory.py [--only NAME]`.

Every shape trains two steps in a process of its own, with the engine's own backend, on tokens made up to
fill the largest micro-batch that its plan allows. What the system says about that process at its end (the
largest resident set ever) is compared with `make_plan`'s prediction. The formula's constants were fitted to
the first group of shapes; the second group was only predicted. Takes about five minutes on two cores.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.schema import TrainConfig
from engine.data.batching import batch_of_rows
from engine.data.types import Batch
from engine.hardware import allocator
from engine.hardware.probe import probe
from engine.models.resolve import resolve
from engine.models.sizing import shape_of
from engine.planning.backend_choice import choose_backend
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats

SHARE = 0.5
"""Share of tokens that the made-up rows train."""


@dataclass(frozen=True)
class Model:
    """A Llama with random weights; `vocab` rows of the embedding are also its output unless untied."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool = True


MODELS: dict[str, Model | None] = {
    "starter 135M": None,
    "10M": Model(256, 6, 704, 4, 4, 8192),
    "25M": Model(384, 8, 1024, 6, 2, 16384),
    "60M": Model(512, 10, 1408, 8, 8, 32000),
    "120M": Model(768, 12, 2048, 12, 12, 32000, tied=False),
    "300M": Model(1024, 16, 2816, 16, 4, 49152),
}


@dataclass(frozen=True)
class Shape:
    """One row of the table. `settings` are values of the recipe by section."""

    model: str
    rows: int
    length: int
    fitted: bool = False
    bf16: bool = False
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        changed = [f"{key}={value}" for section in self.settings.values() for key, value in section.items()]
        return ", ".join([self.model, f"{self.rows}×{self.length}", *changed, *(["bf16 CPU"] * self.bf16)])


CHECKPOINTING = {"training": {"gradient_checkpointing": True}}
FULL = {"adapter": {"type": "none"}}
SHAPES = [
    Shape("10M", 2, 256, fitted=True),
    Shape("starter 135M", 4, 256, fitted=True),
    Shape("60M", 8, 256, fitted=True, settings=CHECKPOINTING),
    Shape("120M", 4, 256, fitted=True),
    Shape("25M", 4, 256, fitted=True, settings=FULL),
    Shape("60M", 2, 512, fitted=True, settings={"model": {"quantization": "4bit"}}),
    Shape("starter 135M", 4, 512),
    Shape("starter 135M", 1, 256, settings={"adapter": {"rank": 64}}),
    Shape("25M", 2, 1024, settings={"data": {"packing": False}}),
    Shape("60M", 16, 128),
    Shape("300M", 2, 384),
    Shape("300M", 2, 512, settings=CHECKPOINTING),
    Shape("300M", 1, 512, settings={"model": {"quantization": "4bit"}}),
    Shape("120M", 4, 128, settings={"model": {"quantization": "8bit"}}),
    Shape("120M", 2, 256, settings={"training": {"precision": "fp32"}}),
    Shape("60M", 4, 128, settings=FULL),
    Shape("120M", 1, 512, bf16=True),
    Shape("60M", 4, 256, settings={"adapter": {"dropout": 0.1}}),
    Shape("60M", 4, 256, settings={"adapter": {"modules_to_save": ["embed_tokens"]}}),
    Shape("120M", 2, 256, settings={"adapter": {"modules_to_save": ["lm_head"]}}),
    Shape("60M", 4, 256, settings={"adapter": {"type": "dora"}}, fitted=True),
    Shape("60M", 4, 256, settings={"adapter": {"type": "ia3"}}, fitted=True),
    Shape("25M", 4, 256, settings={"adapter": {"type": "boft"}}, fitted=True),
    Shape("25M", 4, 256, settings={"adapter": {"type": "prompt"}}, fitted=True),
]


def main() -> None:
    """Run the shapes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--parts", action="store_true", help="show the prediction by part")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(train(json.loads(arguments.child))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        for fitted in (True, False):
            print(f"\n{'fitted' if fitted else 'held out':44} predicted  measured   error")
            chosen = [one for one in SHAPES if one.fitted == fitted and arguments.only in one.name]
            errors = [report(shape, Path(scratch), arguments.parts) for shape in chosen]
            if errors:
                print(f"{'largest error':44} {max(map(abs, errors)):>28.1%}")


def report(shape: Shape, scratch: Path, parts: bool) -> float:
    """Measure one shape and print its line; returns the prediction's relative error."""
    folder = folder_of(shape.model, scratch)
    config, plan = planned(shape, folder)
    job = {
        "plan": plan.to_json(),
        "config": config.model_dump_json(),
        "folder": str(folder),
        "rows": shape.rows,
        "length": shape.length,
    }
    command = [sys.executable, "-P", __file__, "--child", json.dumps(job)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | allocator.preload()
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    predicted, peak = plan.memory.peak_bytes, measured["peak"]
    error: float = predicted / peak - 1
    print(f"{shape.name:44} {predicted / 1e6:6.0f} MB {peak / 1e6:6.0f} MB {error:+7.1%}", flush=True)
    if parts:
        sizes = {name: round(size / 1e6) for name, size in dataclasses.asdict(plan.memory).items()}
        print("   ", sizes, {name: round(size / 1e6) for name, size in measured.items()})
    return error


def folder_of(name: str, scratch: Path) -> Path:
    """The model's folder; a random one is made in a process of its own."""
    model = MODELS[name]
    if model is None:
        return resolve("starter").folder
    folder = scratch / name
    if not folder.exists():
        code = "import sys, json; from benchmarks.memory import make; make(*json.loads(sys.argv[1]))"
        arguments = json.dumps([str(folder), dataclasses.asdict(model)])
        subprocess.run([sys.executable, "-c", code, arguments], check=True, cwd=Path(__file__).parents[1])
    return folder


def make(folder: str, model: dict[str, Any]) -> None:
    """Write a random Llama in bf16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=model["hidden"],
        num_hidden_layers=model["layers"],
        intermediate_size=model["intermediate"],
        num_attention_heads=model["heads"],
        num_key_value_heads=model["kv_heads"],
        vocab_size=model["vocab"],
        tie_word_embeddings=model["tied"],
        max_position_embeddings=4096,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def planned(shape: Shape, folder: Path) -> tuple[TrainConfig, Plan]:
    """The recipe of a shape, and its plan."""
    sections: dict[str, dict[str, Any]] = {"model": {"base": str(folder)}, "data": {"train": "made-up"}}
    sections["training"] = {"batch_size": shape.rows, "gradient_checkpointing": False}
    for section, values in shape.settings.items():
        sections[section] = sections.get(section, {}) | values
    config = TrainConfig.model_validate(sections)
    machine = dataclasses.replace(probe(), bf16=shape.bf16)
    model, rows = shape_of(folder), RowStats.uniform(64, shape.length, SHARE)
    return config, make_plan(config, machine, choose_backend(machine, config, model), model, rows)


def train(job: dict[str, Any]) -> dict[str, int]:
    """In the child: load, make two steps, and say what the process used (bytes)."""
    import engine.process.worker  # noqa: F401 - what the real engine process has imported
    from engine.backends import load_trainer
    from engine.objectives.sft import Supervised

    plan = Plan.from_json(job["plan"])
    config = TrainConfig.model_validate_json(job["config"])
    objective = Supervised()
    trainer = load_trainer(plan, config, Path(job["folder"]), objective)
    loaded = trainer.model.memory()
    batch = made_up(job["rows"], job["length"], plan.packing)
    for seed, batches in enumerate(([batch], [batch, batch])):  # the first makes the optimizer's state
        trainer.step(batches, objective.normaliser(batches), 1e-4, seed, lambda: None)
    trained = trainer.model.memory()
    return {
        "loaded": loaded.process_bytes or 0,
        "load_peak": loaded.process_peak_bytes or 0,
        "after": trained.process_bytes or 0,
        "peak": trained.process_peak_bytes or 0,
    }


def made_up(rows: int, length: int, packed: bool) -> Batch:
    """A micro-batch of random tokens; the second half of each row is trained."""
    ids = np.random.default_rng(0).integers(3, 8000, (rows, length), dtype=np.int32)
    return batch_of_rows(list(ids), packed, trained_from=math.ceil(length * (1 - SHARE)))


if __name__ == "__main__":
    main()
