"""Losses and gradients of preference methods are those of TRL's trainers, on the same model and tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers

from engine.data.types import Examples
from engine.methods import method_named
from tests.preference_steps import ANSWERS, PROMPT, RATE, Curve, examples, steps_on
from tests.training import LABELLED, PAIRS, Job

STEPS, NO_LIMIT = 10, 1e9


@dataclass(frozen=True)
class Case:
    """A method with keys of ours, and TRL's trainer with its arguments."""

    method: str
    keys: Mapping[str, Any]
    module: str
    trainer: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.keys.items())])


def dpo(keys: Mapping[str, Any], loss: str, **arguments: Any) -> Case:
    return Case("dpo", keys, "trl", "DPO", {"loss_type": [loss], **arguments})


CASES = (
    dpo({"beta": 0.3}, "sigmoid", beta=0.3),
    dpo({"loss": "hinge", "beta": 0.3}, "hinge", beta=0.3),
    dpo({"loss": "ipo", "length_normalised": True}, "ipo"),
    dpo({"loss": "robust", "label_smoothing": 0.1}, "robust", label_smoothing=0.1),
    Case("orpo", {"beta": 0.5}, "trl.experimental.orpo", "ORPO", {"beta": 0.5}),
    Case("cpo", {"nll_weight": 0.5}, "trl.experimental.cpo", "CPO", {"cpo_alpha": 0.5}),
    Case(
        "simpo",
        {"beta": 2.0, "gamma": 0.5},
        "trl.experimental.cpo",
        "CPO",
        {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.5},
    ),
    Case("kto", {"beta": 0.3, "desirable_weight": 1.5}, "trl", "KTO", {"beta": 0.3, "desirable_weight": 1.5}),
)


def theirs(case: Case, model: Path, folder: Path, rows: Examples) -> Curve:
    """The same by TRL, on the same tokens."""
    module = import_module(case.module)
    base, losses = getattr(module, f"{case.trainer}Trainer"), list[float]()

    class Recorded(base):  # type: ignore[misc, valid-type]
        """The trainer, with rows that are tokens already, and every step's loss."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def tokenize_row(self, feature: dict[str, Any], *_: Any) -> dict[str, Any]:
            return feature

        def compute_loss(self, *given: Any, **named: Any) -> Any:
            found = super().compute_loss(*given, **named)
            losses.append(float(found[0] if isinstance(found, tuple) else found))
            return found

    arguments = getattr(module, f"{case.trainer}Config")(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=8 if case.method == "kto" else 4,
        learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=NO_LIMIT,
        gradient_checkpointing=False, logging_steps=1, report_to="none", bf16=False, use_cpu=True,
        save_strategy="no", remove_unused_columns=False, disable_tqdm=True, **case.arguments,
    )  # fmt: skip
    network, before = (
        transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32) for _ in range(2)
    )
    given = {"ref_model": before} if case.trainer in ("DPO", "KTO") else {}
    trainer = Recorded(
        model=network, args=arguments, train_dataset=datasets.Dataset.from_list(table(case, rows)),
        processing_class=transformers.AutoTokenizer.from_pretrained(model), **given,
    )  # fmt: skip
    trainer.train()
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    return list(zip(losses, norms, strict=True))


def table(case: Case, rows: Examples) -> list[dict[str, Any]]:
    """The rows as the collators of TRL's trainers take them."""
    prompts, answers = (
        [[int(id_) for id_ in row.input_ids[part]] for row in rows]
        for part in (slice(0, PROMPT), slice(PROMPT, None))
    )
    if case.trainer == "KTO":
        return [
            {
                "prompt_ids": prompts[at], "completion_ids": answers[at], "label": at % 2 == 0,
                "KL_completion_ids": answers[(at + 1) % len(answers)][: max(ANSWERS)],
            }
            for at in range(len(answers))
        ]  # fmt: skip
    pairs = [(prompts[at], answers[at], answers[at + 1]) for at in range(0, len(answers), 2)]
    if case.trainer == "DPO":
        return [
            {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
            for prompt, chosen, rejected in pairs
        ]
    return [
        {
            "prompt": "",
            "chosen": "",
            "rejected": "",
            **_laid("chosen", prompt, chosen),
            **_laid("rejected", prompt, rejected),
        }
        | {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for prompt, chosen, rejected in pairs
    ]


def _laid(side: str, prompt: Sequence[int], answer: Sequence[int]) -> dict[str, list[int]]:
    ids = [*prompt, *answer]
    return {
        f"{side}_input_ids": ids,
        f"{side}_attention_mask": [1] * len(ids),
        f"{side}_labels": [*[-100] * len(prompt), *answer],
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_ten_steps_are_those_of_trl(
    tiny_model: Path, tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    training = {"method": case.method, "weight_decay": 0.0, "max_grad_norm": NO_LIMIT}
    given = LABELLED if case.method == "kto" else PAIRS
    sections: dict[str, Any] = {case.method: dict(case.keys)}
    job = Job.make(tiny_model, tmp_path, rows=given, training=training, adapter={"type": "none"}, **sections)
    rows = examples(pairs=method_named(case.method).samples == "pairs")
    own, other = steps_on(job, rows, STEPS), theirs(case, tiny_model, tmp_path / "trl", rows)
    assert np.allclose([loss for loss, _ in own], [loss for loss, _ in other], rtol=1e-5, atol=1e-5)
    assert np.allclose([norm for _, norm in own], [norm for _, norm in other], rtol=1e-4, atol=1e-5)
    assert own[-1][0] < own[0][0]
