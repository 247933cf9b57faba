"""A whole small training job in this process: real data, plan, backend and loop on the tiny model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.backends import load_trainer
from engine.backends.base import Interrupted, StepResult, Trainer
from engine.backends.result_files import ResultFiles
from engine.backends.torch.trainer import TorchTrainer
from engine.config.load import load_text
from engine.config.schema import TrainConfig
from engine.data.batching import batch_of_rows
from engine.data.prepare import prepare
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Batch
from engine.hardware.probe import probe
from engine.methods import method_named
from engine.models.published import PublishedBase
from engine.models.resolve import resolve
from engine.models.saved_adapter import read_adapter
from engine.models.sizing import shape_of
from engine.objectives.base import Objective
from engine.objectives.sft import Supervised
from engine.planning.backend_choice import choose_backend
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats
from engine.runs.directory.control import Control
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from engine.training.loop import train
from engine.training.reference import reference_folder, with_reference

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Say {word} {n} times."},
            {"role": "assistant", "content": " ".join([word] * n)},
        ]
    }
    for n in (1, 2, 5)
    for word in ("fox", "bird", "robot", "tea", "dog", "story")
]

PAIRS = [
    {
        "prompt": f"Say {word} {n} times.",
        "chosen": " ".join([word] * n),
        "rejected": " ".join([word] * (n - 1) + ["no"]),
    }
    for n in (2, 3, 5)
    for word in ("fox", "bird", "robot", "tea", "dog", "story")
]
"""The same answers, each with a worse one beside it."""
LABELLED = [
    {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
    for number, pair in enumerate(PAIRS)
    for side in (("chosen", "rejected") if number % 3 else ("rejected",))
]
"""Answers of pairs, each labelled on its own; some prompts have a bad answer alone."""


def recipe_text(base: Path, data: Path, /, **sections: Any) -> str:
    """A small recipe; `sections` are merged into it, and single values replace what it has."""
    recipe: dict[str, Any] = {
        "name": "tiny",
        "model": {"base": str(base), "max_seq_length": 64},
        "data": {"train": str(data), "validation": 0.2},
        "adapter": {"rank": 4, "dropout": 0.1},
        "training": {"epochs": 2, "effective_batch_size": 4, "batch_size": 2, "learning_rate": 1e-2},
        "evaluation": {"every": 3, "samples": ["Say fox."], "sample_tokens": 4},
        "checkpoints": {"every": 2, "keep": 2},
    }
    if "from" in sections.get("adapter", {}):
        recipe["adapter"] = {}  # what an adapter is comes with it
    for name, section in sections.items():
        recipe[name] = recipe.get(name, {}) | section if isinstance(section, dict) else section
    return json.dumps(recipe)


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]] = ROWS) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@dataclass
class Job:
    """A recipe on the tiny model, and its run directory."""

    run: Run
    config: TrainConfig
    model: Path
    plan: Plan

    @staticmethod
    def make(
        base: Path, folder: Path, /, *, rows: Sequence[Mapping[str, Any]] = ROWS, **sections: Any
    ) -> "Job":
        recipe = load_text(recipe_text(base, write_rows(folder, rows), **sections), folder / "train.yml")
        run = create_run(recipe)
        config = run.config if recipe.config.adapter.from_ else recipe.config
        start = read_adapter(run.start) if config.adapter.from_ else None
        dataset = prepare(config, base)
        machine, shape = probe(), shape_of(base)
        chosen = choose_backend(machine, config, shape)
        plan = make_plan(config, machine, chosen, shape, RowStats.of(dataset.train), start=start)
        return Job(run, config, base, plan)

    @property
    def objective(self) -> Objective:
        """The objective of the recipe's method."""
        found: Objective = method_named(self.config.training.method).objective(self.config.method_config)
        return found

    @property
    def start(self) -> Path | None:
        """The adapter that it starts from."""
        return self.run.start if self.config.adapter.from_ else None

    def backend(self, steps: int | None = None, **changes: Any) -> TorchTrainer:
        plan = self.plan.changed(**changes)
        self.plan = plan if steps is None else replace(plan, work=replace(plan.work, steps=steps))
        backend = load_trainer(self.plan, self.config, self.model, adapter=self.start)
        assert isinstance(backend, TorchTrainer)
        return backend

    def train(self, control: Control | None = None, resume_from: Path | None = None) -> str:
        dataset, objective = prepare(self.config, self.model), self.objective
        folder = reference_folder(self.run, self.config, self.plan, dataset)
        dataset = with_reference(dataset, objective, folder)
        files = self.files()
        backend = load_trainer(self.plan, self.config, self.model, objective, adapter=self.start)
        return train(
            self.run, self.config, self.plan, dataset, backend, objective, files.tokenizer, files,
            control or Control(self.run), resume_from,
        )  # fmt: skip

    def files(self) -> ResultFiles:
        """Files that a run puts beside the weights of its result."""
        model = self.config.model
        base = PublishedBase.of(resolve(model.base), Path.cwd())
        tokenizer = Tokenizer.load(
            self.model, model.chat_template, None, model.template_variables, model.add_tokens
        )
        return ResultFiles(self.model, base, tokenizer)


class StopAtPoll(Control):
    """Requests a stop at the n-th time that the engine looks: anywhere in a step, an evaluation or a sample."""

    def __init__(self, run: Run, polls: int) -> None:
        super().__init__(run)
        self.polls = polls

    def poll(self) -> None:
        super().poll()
        self.polls -= 1
        self.stop_requested |= self.polls < 0


def interrupt_at_second() -> Callable[[], None]:
    """A poll that requests a stop the second time that it is called: amid a step of two micro-batches."""
    polls = iter([None, Interrupted()])

    def poll() -> None:
        if (request := next(polls)) is not None:
            raise request

    return poll


def batch_of(rows: list[list[int]], packed: bool, trained_from: int = 1) -> Batch:
    """Rows of token ids as a batch; of each row the tokens from `trained_from` on are trained."""
    return batch_of_rows(rows, packed, trained_from)


def train_step(
    trainer: Trainer, batches: Sequence[Batch], lr: float, seed: int, poll: Callable[[], None]
) -> StepResult:
    """One step of supervised fine-tuning."""
    return trainer.step(batches, Supervised().normaliser(batches), lr, seed, poll)
