"""Pairs for preference training out of a file's answers and a model's: what is asked, kept, rejected and trained."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import TrainConfig
from engine.data.augment.journal import Journal
from engine.data.augment.make import augment
from engine.data.augment.options import Augmented, Options
from engine.data.prepare import prepare
from engine.data.rewrite import Report, rewrite
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Completion, Preference, Prompt, Row
from engine.errors import DataError
from tests.test_data_lint import chat, good
from tests.test_data_prepare import recipe, write

OPTIONS = Options("pairs", "starter", "f", tries=1)
Answer = Callable[[Prompt], Completion]


def wrong(prompt: Prompt) -> Completion:
    return Completion(f"I would rather talk of item {len(prompt.messages[-1].content)}.", ended=True)


class Model:
    """Answers by a function of the prompt, and remembers what it was asked; interrupted after so many batches."""

    def __init__(self, answer: Answer = wrong, stop_after: int = 1000) -> None:
        self.answer, self.left = answer, stop_after
        self.asked: list[Prompt] = []

    def __call__(self, prompts: Sequence[Prompt]) -> list[Completion]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += prompts
        return [self.answer(prompt) for prompt in prompts]


def made(
    folder: Path,
    model_dir: Path,
    rows: Sequence[Any],
    model: Model,
    options: Options = OPTIONS,
    share: float = 0.0,
) -> tuple[list[dict[str, Any]], Report, Augmented]:
    """The pairs that are written, the report, and what has come of the answers."""
    write(folder / "rows.jsonl", rows)
    found: list[Augmented] = []

    def make(journal: Journal) -> tuple[list[Row | Preference], dict[str, Any]]:
        pairs, report = augment(
            folder / "out", options, Tokenizer.load(model_dir), model, journal, lambda done, total: None
        )
        found.append(report)
        return pairs, report.to_json()

    report = rewrite(recipe("rows.jsonl", validation=share), folder / "out", make=make)
    file = folder / "out" / "pairs.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines], report, found[0]


def test_own_answer_is_chosen_over_the_models(tiny_model: Path, folder: Path) -> None:
    rows = good(6)
    pairs, report, _ = made(folder, tiny_model, rows, model := Model())
    assert (report.train, report.pairs) == (6, 6)
    for row, pair, prompt in zip(rows, pairs, sorted(model.asked, key=lambda one: one.seed), strict=False):
        assert prompt.messages[-1].role == "user"
        assert (pair["prompt"], pair["chosen"]) == (row["messages"][:1], row["messages"][1:])
        assert pair["rejected"][0]["content"].startswith("I would rather")
    assert pairs[2]["augmented"] == {
        "kind": "pairs",
        "from": ["train.jsonl:3"],
        "model": "starter",
        "seed": 42,
    }


def test_pairs_are_rows_of_preference_training(tiny_model: Path, folder: Path) -> None:
    made(folder, tiny_model, good(6), Model())
    config = TrainConfig.model_validate(
        {
            "model": {"base": str(tiny_model)},
            "data": {"train": str(folder / "out" / "pairs.jsonl"), "validation": 0},
            "training": {"method": "dpo"},
        }
    )
    examples = prepare(config, tiny_model).train
    assert len(examples) == 12
    assert examples.sign is not None
    assert examples.sign.tolist() == [1, -1] * 6


def test_validation_rows_are_never_asked(tiny_model: Path, folder: Path) -> None:
    pairs, report, _ = made(folder, tiny_model, good(20), model := Model(), share=0.25)
    held = (folder / "out" / "validation.jsonl").read_text()
    assert report.validation == 5
    assert report.pairs == len(pairs) == 15
    assert not any(json.dumps(prompt.messages[-1].content)[1:-1] in held for prompt in model.asked)


def test_conversation_is_asked_whole_with_its_last_answer_open(tiny_model: Path, folder: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is the harbour?"},
        {"role": "assistant", "content": "In the south.", "weight": 0},
        {"role": "user", "content": "And the market, if I may ask?"},
        {"role": "assistant", "content": "Behind the old tower."},
    ]
    pairs, _, _ = made(folder, tiny_model, [{"messages": turns}], model := Model())
    assert [message.content for message in model.asked[0].messages] == [
        turn["content"] for turn in turns[:-1]
    ]
    assert [turn["content"] for turn in pairs[0]["prompt"]] == [turn["content"] for turn in turns[:-1]]
    assert pairs[0]["chosen"] == turns[-1:]


def test_text_keeps_its_columns(tiny_model: Path, folder: Path) -> None:
    rows = [{"prompt": "The tallest tower of the harbour is", "completion": " the old lighthouse."}]
    pairs, _, _ = made(folder, tiny_model, rows, Model())
    assert pairs[0]["prompt"] == rows[0]["prompt"]
    assert pairs[0]["chosen"] == rows[0]["completion"]
    assert isinstance(pairs[0]["rejected"], str)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda prompt: Completion("A never ending story about", ended=False), "cut"),
        (lambda prompt: Completion(" \n", ended=True), "empty"),
        (lambda prompt: Completion("The Danube.", ended=True), "same"),
        (lambda prompt: Completion("Well <|im_end|> then", ended=True), "echo"),
    ],
)
def test_answer_that_makes_no_pair_is_counted(
    tiny_model: Path, folder: Path, answer: Answer, reason: str
) -> None:
    rows = [chat("Which river runs through Vienna?", "The Danube."), *good(1)]
    only = {"role": "user", "content": "Which river runs through Vienna?"}

    def one(prompt: Prompt) -> Completion:
        return answer(prompt) if prompt.messages[-1].content == only["content"] else wrong(prompt)

    pairs, _, found = made(folder, tiny_model, rows, Model(one))
    assert len(pairs) == 1
    assert found.rejected == {reason: 1}


def test_same_answer_makes_one_pair(tiny_model: Path, folder: Path) -> None:
    pairs, _, found = made(
        folder, tiny_model, good(3), Model(), Options("pairs", "starter", "f", tries=1, amount=2.0)
    )
    assert len(pairs) == 3
    assert found.rejected == {"same": 3}


def test_stopped_call_continues_with_what_was_answered(
    tiny_model: Path, folder: Path, tmp_path: Path
) -> None:
    rows = good(40)
    with pytest.raises(KeyboardInterrupt):
        made(folder, tiny_model, rows, Model(stop_after=1))
    pairs, _, _ = made(folder, tiny_model, rows, model := Model())
    assert len(model.asked) < 40
    whole = tmp_path / "whole"
    whole.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole)
        again, _, _ = made(whole, tiny_model, rows, Model())
    assert pairs == again


def test_rows_without_an_answer_of_text_make_no_pairs(tiny_model: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="No training row has a prompt"):
        made(folder, tiny_model, [{"text": "A story without a question."}], Model())
