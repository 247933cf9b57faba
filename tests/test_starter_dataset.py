"""The starter's dataset: reproducible, strict, and validation rows that training never saw."""

import json
from collections.abc import Iterator
from pathlib import Path

from engine.data.starter import make

FOLDER = Path(make.__file__).parent


def rows(name: str) -> list[tuple[str, dict[str, object]]]:
    """Prompt and answer of each row in the shipped file."""
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    assert all([turn["role"] for turn in row] == ["user", "assistant"] for row in turns)
    return [(row[0]["content"], json.loads(row[1]["content"])) for row in turns]


def test_script_makes_the_shipped_dataset_exactly() -> None:
    train, held_out = make.make()
    assert (FOLDER / "train.jsonl").read_bytes() == make.as_jsonl(train).encode()
    assert (FOLDER / "validation.jsonl").read_bytes() == make.as_jsonl(held_out).encode()


def test_every_dataset_answer_is_compact_json() -> None:
    """The keys are the same in all of them."""
    for name in ("train", "validation"):
        for line in (FOLDER / f"{name}.jsonl").read_text().splitlines():
            answer = json.loads(line)["messages"][1]["content"]
            assert list(json.loads(answer)) == ["name", "items", "to_go"]
            assert json.dumps(json.loads(answer), separators=(",", ":")) == answer


def test_validation_rows_share_nothing_with_training() -> None:
    """No sentence, no name and no item."""
    train, held_out = rows("train"), rows("validation")
    assert (len(train), len(held_out)) == (280, 64)
    assert len({prompt for prompt, _ in train + held_out}) == 344
    assert not set(names(train)) & set(names(held_out))
    assert not set(items(train)) & set(items(held_out))


def names(found: list[tuple[str, dict[str, object]]]) -> Iterator[object]:
    return (answer["name"] for _, answer in found if answer["name"])


def items(found: list[tuple[str, dict[str, object]]]) -> Iterator[str]:
    for _, answer in found:
        assert isinstance(answer["items"], dict)
        yield from answer["items"]


def test_dataset_rows_suit_a_quick_demo(starter_model: Path) -> None:
    import jinja2
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(starter_model / "tokenizer.json"))
    template = jinja2.Template((starter_model / "chat_template.jinja").read_text())
    lines = (FOLDER / "train.jsonl").read_text().splitlines()
    lengths = [
        len(tokenizer.encode(template.render(messages=json.loads(line)["messages"])).ids) for line in lines
    ]
    assert max(lengths) < 128
    assert sum(lengths) < 25_000
