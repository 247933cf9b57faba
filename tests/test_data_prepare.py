"""From a recipe to tokens: formats, splits, limits, questions, notes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare, sample
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import UNTRAINED, Dataset, Examples, Message


def recipe(train: Any, *, max_seq_length: int = 2048, seed: int = 42, **data: Any) -> TrainConfig:
    body = {
        "seed": seed,
        "model": {"base": "starter", "max_seq_length": max_seq_length},
        "data": {"train": train, **data},
        "evaluation": {"max_questions": 7},
    }
    return TrainConfig.model_validate(body)


def write(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(count: int) -> list[dict[str, str]]:
    return [{"text": f"row number {i}"} for i in range(count)]


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"say {i}"},
                {"role": "assistant", "content": f"it is {i}"},
            ]
        }
        for i in range(count)
    ]


def decoded(examples: Examples | None, model: Path) -> list[str]:
    tokenizer = Tokenizer.load(model)
    return [tokenizer.decode(example.input_ids.tolist()) for example in examples or ()]


def answers(dataset: Dataset, model: Path) -> list[str]:
    """Trained text of each training row."""
    tokenizer = Tokenizer.load(model)
    return [
        tokenizer.decode([int(label) for label in example.labels if label != UNTRAINED], skip_special=False)
        for example in dataset.train
    ]


FORMATS: dict[str, tuple[dict[str, Any], str, str]] = {
    # format: (row, the whole text without special tokens, what is trained)
    "alpaca": (
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        "user\nAdd.\n\n1 2\nassistant\n3\n",
        "3<|im_end|>",
    ),
    "alpaca with history": (
        {"instruction": "And?", "input": None, "output": "4", "system": "Sum.", "history": [["1 2", "3"]]},
        "system\nSum.\nuser\n1 2\nassistant\n3\nuser\nAnd?\nassistant\n4\n",
        "3<|im_end|>4<|im_end|>",
    ),
    "sharegpt": (
        {
            "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
            "system": "S",
        },
        "system\nS\nuser\nHi\nassistant\nHello\n",
        "Hello<|im_end|>",
    ),
    "chat": (
        {
            "messages": [
                {"role": "developer", "content": "D"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "c"},
            ],
            "text": "a rendered copy that is left alone",
        },
        "system\nD\nuser\nab\nassistant\nc\n",
        "c<|im_end|>",
    ),
    "completion": ({"text": "Once upon"}, "Once upon", "nce upon<|im_end|>"),
    "prompt_completion": ({"prompt": "2+2=", "completion": "4"}, "2+2=4", "4<|im_end|>"),
    "prompt_completion of messages": (
        {
            "prompt": [{"role": "user", "content": "a"}],
            "completion": [{"role": "assistant", "content": "b"}],
        },
        "user\na\nassistant\nb\n",
        "b<|im_end|>",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_detected_and_rendered(name: str, tmp_path: Path, tiny_model: Path) -> None:
    row, text, trained = FORMATS[name]
    dataset = prepare(recipe(write(tmp_path / "a.jsonl", [row]), validation=0.0), tiny_model)
    assert decoded(dataset.train, tiny_model) == [text]
    got = answers(dataset, tiny_model)[0]
    if name == "completion":  # all of it but the first token, which nothing predicts
        assert ("Once upon<|im_end|>").endswith(got)
        assert dataset.train.trained_tokens == len(dataset.train.tokens) - 1
    else:
        assert got == trained
    assert f"a.jsonl: {name.split(' ')[0]}, because its rows have `" in dataset.notes[0]


def test_csv_may_hold_messages_as_json(tmp_path: Path, tiny_model: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    path = tmp_path / "a.csv"
    path.write_text('messages\n"' + turns.replace('"', '""') + '"\n')
    dataset = prepare(recipe(str(path), validation=0.0), tiny_model)
    assert answers(dataset, tiny_model) == ["b<|im_end|>"]


def test_sources_of_different_formats_are_joined(tmp_path: Path, tiny_model: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", texts(3)), write(tmp_path / "b.jsonl", chats(2))
    dataset = prepare(recipe([first, {"path": second, "max_samples": 1}], validation=0.0), tiny_model)
    assert decoded(dataset.train, tiny_model)[:3] == [row["text"] for row in texts(3)]
    assert len(dataset.train) == 4
    assert any("4 of 5 rows are used" in note for note in dataset.notes)


@pytest.mark.parametrize(("rows", "share", "held"), [(100, 0.1, 10), (3, 0.1, 1), (2, 0.99, 1), (1, 0.5, 0)])
def test_validation_share_is_never_all_or_nothing(
    rows: int, share: float, held: int, tmp_path: Path, tiny_model: Path
) -> None:
    dataset = prepare(recipe(write(tmp_path / "a.jsonl", texts(rows)), validation=share), tiny_model)
    train, validation = decoded(dataset.train, tiny_model), decoded(dataset.validation, tiny_model)
    assert len(validation) == held
    assert (dataset.validation is None) == (held == 0)
    assert sorted(train + validation) == sorted(row["text"] for row in texts(rows))


def test_seed_fixes_validation_split(tmp_path: Path, tiny_model: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts(50))
    first, again, other = (prepare(recipe(path, seed=seed), tiny_model) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint
    assert decoded(first.validation, tiny_model) == decoded(again.validation, tiny_model)
    assert decoded(first.validation, tiny_model) != decoded(other.validation, tiny_model)
    assert first.fingerprint != other.fingerprint


def test_max_samples_chooses_among_all_rows(tmp_path: Path, tiny_model: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts(500))
    used = decoded(prepare(recipe(path, max_samples=20, validation=0.0), tiny_model).train, tiny_model)
    assert len(used) == 20
    assert any(int(text.split()[-1]) > 250 for text in used)
    assert used == sorted(used, key=lambda text: int(text.split()[-1]))


def test_separate_validation_source_is_used_whole(tmp_path: Path, tiny_model: Path) -> None:
    path, other = write(tmp_path / "a.jsonl", texts(20)), write(tmp_path / "b.jsonl", chats(9))
    dataset = prepare(recipe(path, validation=other), tiny_model)
    assert len(dataset.train) == 20
    assert dataset.validation is not None
    assert len(dataset.validation) == 9
    assert len(dataset.questions) == 7, "as many as evaluation.max_questions"


def test_questions_hold_prompt_and_files_answer(tmp_path: Path, tiny_model: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "the answer"},
        ]
    }
    path, other = write(tmp_path / "a.jsonl", texts(20)), write(tmp_path / "b.jsonl", [row])
    (question,) = prepare(recipe(path, validation=other), tiny_model).questions
    tokenizer = Tokenizer.load(tiny_model)
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert list(question.prompt_ids) == tokenizer.prompt_ids(turns)
    assert question.answer == "the answer"
    assert question.where.endswith("b.jsonl:1")


def test_questions_come_from_held_out_rows(tmp_path: Path, tiny_model: Path) -> None:
    dataset = prepare(recipe(write(tmp_path / "a.jsonl", chats(40)), validation=0.1), tiny_model)
    held = decoded(dataset.validation, tiny_model)
    assert len(dataset.questions) == 4
    assert all(any(question.answer in text for text in held) for question in dataset.questions)


def test_long_rows_are_cut_on_right(tmp_path: Path, tiny_model: Path) -> None:
    """The note gives the number of lost tokens."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "xy " * 40}]}
    path = write(tmp_path / "a.jsonl", [*chats(3), row])
    whole = prepare(recipe(path, validation=0.0), tiny_model)
    cut = prepare(recipe(path, validation=0.0, max_seq_length=40), tiny_model)
    longest = int(whole.train.lengths.max())
    lost = whole.train.trained_tokens - cut.train.trained_tokens
    assert cut.train.lengths.max() == 40
    assert cut.train[3].input_ids.tolist() == whole.train[3].input_ids[:40].tolist()
    (note,) = (note for note in cut.notes if "were cut" in note)
    assert "1 of 4 rows are longer than model.max_seq_length 40 and were cut" in note
    assert f"{lost} trained tokens are lost" in note
    assert f"{longest} would keep every row whole" in note


def test_rows_without_room_for_answer_are_skipped(tmp_path: Path, tiny_model: Path) -> None:
    """They are skipped if they are few; the notes report them."""
    row = {"messages": [{"role": "user", "content": "xy " * 60}, {"role": "assistant", "content": "b"}]}
    path = write(tmp_path / "a.jsonl", [*chats(100), row, *chats(99)])
    dataset = prepare(recipe(path, validation=0.1, max_seq_length=64), tiny_model)
    assert len(dataset.train) + len(dataset.validation or ()) == 199
    assert any(
        "1 of them had nothing left to train" in note and "a.jsonl:101" in note for note in dataset.notes
    )
    trained = {example.labels[example.labels != UNTRAINED].size > 0 for example in dataset.train}
    assert trained == {True}


def test_rows_in_train_and_validation_are_noted(tmp_path: Path, tiny_model: Path) -> None:
    path, other = write(tmp_path / "a.jsonl", chats(20)), write(tmp_path / "b.jsonl", chats(3))
    dataset = prepare(recipe(path, validation=other), tiny_model)
    assert any("3 of 3 validation rows are also training rows" in note for note in dataset.notes)


def test_dataset_fingerprint_covers_tokens_and_mask(tmp_path: Path, tiny_model: Path) -> None:
    path = write(tmp_path / "a.jsonl", chats(20))
    base = prepare(recipe(path), tiny_model).fingerprint
    moved = write(tmp_path / "moved.jsonl", chats(20))
    assert prepare(recipe(moved), tiny_model).fingerprint == base
    assert prepare(recipe(path, train_on="all"), tiny_model).fingerprint != base
    changed = write(tmp_path / "changed.jsonl", [*chats(19), *texts(0), chats(21)[20]])
    assert prepare(recipe(changed), tiny_model).fingerprint != base


def test_progress_counts_rows_of_both_splits(tmp_path: Path, tiny_model: Path) -> None:
    path, other = write(tmp_path / "a.jsonl", texts(2500)), write(tmp_path / "b.jsonl", texts(10))
    seen: list[tuple[int, int]] = []
    prepare(recipe(path, validation=other), tiny_model, lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 2510), (2000, 2510), (2500, 2510), (2510, 2510)]


def test_sample_of_rows_knows_total_count(tmp_path: Path, tiny_model: Path) -> None:
    config = recipe(write(tmp_path / "a.jsonl", chats(3000)))
    looked, count = sample(config, tiny_model, rows=50)
    assert len(looked.train) == 50
    assert count == 2700 == len(prepare(config, tiny_model).train)
    every, count = sample(config, tiny_model, rows=10_000)
    assert len(every.train) == 3000
    assert every.validation is None


def test_starter_brings_its_own_validation_rows(starter_model: Path) -> None:
    starter = prepare(recipe("starter"), starter_model)
    assert starter.validation is not None
    assert not any("also training rows" in note for note in starter.notes)
    assert all(question.where.startswith("starter/validation.jsonl:") for question in starter.questions)
    explicit = prepare(recipe("starter", validation="starter"), starter_model)
    assert explicit.fingerprint == starter.fingerprint
    share = prepare(recipe("starter", validation=0.25), starter_model)
    assert len(share.train) + len(share.validation or ()) == len(starter.train)


def test_preparing_data_imports_neither_torch_nor_transformers(tmp_path: Path, tiny_model: Path) -> None:
    path = write(tmp_path / "a.jsonl", chats(3))
    code = f"""
import sys
from pathlib import Path
from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
body = {{"model": {{"base": "x"}}, "data": {{"train": {path!r}}}}}
prepare(TrainConfig.model_validate(body), Path({str(tiny_model)!r}))
print([name for name in ("torch", "transformers", "datasets", "pyarrow") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
