"""The runs that are replayed: small recipes on a small model, one for each way through the engine."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = Path(__file__).parent / "base"
"""A Llama of 31,000 parameters in fp32. Its bytes are kept, as random numbers are not the same on every machine."""
WORDS = ("fox", "bird", "robot", "tea", "dog", "story")


@dataclass(frozen=True)
class Replay:
    """A recipe, what its files hold, and what happens to the run from outside.

    `stop_at` and `exhaust_at` count the forward passes of the engine process, from 1.
    """

    recipe: Mapping[str, Any]
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    stop_at: int | None = None
    exhaust_at: int | None = None

    def write(self, folder: Path) -> Path:
        """Put the recipe and its files into a folder; returns the recipe's path."""
        for name, rows in self.files.items():
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = folder / "train.yml"
        path.write_text(json.dumps(self.recipe, indent=1))
        return path


def conversations() -> tuple[Mapping[str, Any], ...]:
    """Rows of very different lengths, so that packing, padding and row order show."""
    return tuple(
        {
            "messages": [
                {"role": "user", "content": f"Say {word} {count} times."},
                {"role": "assistant", "content": " ".join([word] * count)},
            ]
        }
        for count in (1, 2, 5, 9)
        for word in WORDS
    )


def texts() -> tuple[Mapping[str, Any], ...]:
    return tuple({"text": f"A {word} told a story to another {word}. " * 6} for word in WORDS)


def pairs() -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {"prompt": f"What is a {word}?", "chosen": f"A {word} is a {word}.", "rejected": "No idea."}
        for word in WORDS
    )


def replay(
    files: Mapping[str, tuple[Mapping[str, Any], ...]] | None = None,
    stop_at: int | None = None,
    exhaust_at: int | None = None,
    **sections: Any,
) -> Replay:
    """A replay whose recipe differs from the plain one by `sections`."""
    recipe: dict[str, Any] = {
        "name": "replay",
        "seed": 7,
        "backend": "peft",
        "model": {"base": str(BASE), "max_seq_length": 96},
        "data": {"train": "rows.jsonl", "validation": 0.2, "packing": False},
        "adapter": {"rank": 4},
        "training": {
            "max_steps": 6, "effective_batch_size": 4, "batch_size": 2, "learning_rate": 1e-2, "precision": "fp32",
            "gradient_checkpointing": False,
        },
        "evaluation": {"every": 3, "samples": ["Say fox 2 times."], "sample_tokens": 8},
        "checkpoints": {"every": 2, "keep": 2},
    }  # fmt: skip
    for name, section in sections.items():
        recipe[name] = recipe.get(name, {}) | section if isinstance(section, dict) else section
    return Replay(recipe, files or {"rows.jsonl": conversations()}, stop_at, exhaust_at)


REPLAYS: Mapping[str, Replay] = {
    "lora_padded": replay(),
    "lora_packed": replay(data={"packing": True}),
    "qlora": replay(model={"quantization": "4bit"}),
    "full": replay(adapter={"type": "none"}, training={"learning_rate": 1e-3}),
    "dora": replay(adapter={"type": "dora"}),
    "mlx": replay(backend="mlx", data={"packing": True}),
    "dropout": replay(adapter={"dropout": 0.2}),
    "early_stopping": replay(
        training={"max_steps": 30, "learning_rate": 0.1, "scheduler": "constant", "warmup_ratio": 0},
        evaluation={"every": 1, "early_stopping_patience": 2},
    ),
    "mixture": replay(
        files={"rows.jsonl": conversations(), "texts.jsonl": texts(), "pairs.jsonl": pairs()},
        data={
            "train": [
                {"path": "rows.jsonl", "weight": 1.5},
                {"path": "texts.jsonl", "max_samples": 4},
                {"path": "pairs.jsonl"},
            ]
        },
    ),
    "resumed": replay(stop_at=33, data={"packing": True}, adapter={"dropout": 0.1}),
    "out_of_memory": replay(exhaust_at=14, training={"batch_size": 4}),
    "pissa_checkpointed": replay(adapter={"init": "pissa"}, training={"gradient_checkpointing": True}),
    "new_tokens": replay(model={"add_tokens": ["<note>"]}, adapter={"modules_to_save": ["embed_tokens"]}),
    "long_texts": replay(
        files={"rows.jsonl": texts()},
        model={"max_seq_length": 32},
        data={"train_on": "all", "chunk_overlap": 8},
    ),
    "exact_match": replay(data={"train_on": "last"}, evaluation={"metrics": ["perplexity", "exact_match"]}),
}
"""By what is special about each."""
