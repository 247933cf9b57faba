"""Rows that somebody called good or bad: bad answers are never trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from tests.corpus.reading import ASKED, BAD, DATA, GOOD, Reader, chatml


@pytest.mark.parametrize("file", ["03_kto_int.jsonl", "70_kto_messages.jsonl"])
def test_answers_labelled_bad_are_not_trained(file: str, read: Reader) -> None:
    rows = [json.loads(line) for line in (DATA / file).read_text().splitlines()]
    good = [row for row in rows if row["label"]]
    found = read(file)
    assert f"{file}: kto, because its rows have" in found.said
    assert f"{len(rows) - len(good)} of {len(rows)} rows are labelled false and left out" in found.said
    assert len(found.texts) == len(good)
    assert not any("hate" in text or "alone" in text for text in found.texts)


@pytest.mark.parametrize(
    "labels",
    [(True, False), (1, 0), (1.0, 0.0), ("true", "false"), ("True", "False"), ("1", "0"), ("1.0", "0.0")],
)
@pytest.mark.parametrize(
    "row",
    [
        lambda answer: {"prompt": ASKED["content"], "completion": answer["content"]},
        lambda answer: {"prompt": [ASKED], "completion": [answer]},
        lambda answer: {"messages": [ASKED, answer]},
        lambda answer: {
            "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer["content"]}]
        },
        lambda answer: {"instruction": ASKED["content"], "output": answer["content"]},
        lambda answer: {
            "contents": [
                {"role": "user", "parts": [{"text": "?"}]},
                {"role": "model", "parts": [{"text": answer["content"]}]},
            ]
        },
    ],
    ids=["texts", "lists", "messages", "conversations", "alpaca", "contents"],
)
def test_label_is_read_in_every_spelling(row: Any, labels: tuple[Any, Any], read: Reader) -> None:
    rows = [{**row(answer), "label": label} for answer, label in zip((GOOD, BAD), labels, strict=True)]
    (text,) = read(rows * 6, format="auto").texts[:1]
    assert "⟦Lima.<|im_end|>⟧" in text
    assert not any("hate" in each for each in read(rows * 6).texts)


def test_llama_factory_label_is_read(read: Reader) -> None:
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Lima."}]
    rows: list[dict[str, Any]] = [{"conversations": turns}, {"instruction": "?", "output": "Lima."}]
    for row in rows:
        found = read([{**row, "kto_tag": True}, {**row, "kto_tag": False}])
        assert found.texts == [chatml(("user", "?"), ("assistant", "⟦Lima.⟧"))]
        assert "1 of 2 rows are labelled false and left out" in found.said
    with pytest.raises(DataError, match="`kto_tag` is text; it is true"):
        read([{**rows[0], "kto_tag": "maybe"}], format="kto")


def test_all_rows_labelled_bad_is_reported(read: Reader) -> None:
    with pytest.raises(DataError, match="no training rows are left") as caught:
        read([{"messages": [ASKED, BAD], "label": 0}] * 3)
    assert "3 of 3 rows are labelled false and left out" in caught.value.message


def test_csv_label_is_read(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "kto.csv"
    path.write_text("prompt,completion,label\nCapital of Peru?, Lima.,1\nCapital of Peru?, I hate you.,0\n")
    assert read(path).texts == ["Capital of Peru?⟦ Lima.<|im_end|>⟧"]


def test_label_applies_to_last_answer_only(read: Reader) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, ASKED, GOOD]
    (text,) = read([{"messages": turns, "label": True}]).texts
    assert text == chatml(
        ("user", "Hi"), ("assistant", "Hello"), ("user", ASKED["content"]), ("assistant", "⟦Lima.⟧")
    )


def test_class_numbers_are_unused_labels(read: Reader) -> None:
    """The report says that they are not used."""
    rows = [{"prompt": "a", "completion": f" b{number}", "label": number % 5} for number in range(20)]
    found = read(rows)
    assert "prompt_completion, because" in found.said
    assert len(found.texts) == 20
    assert "20 of 20 rows have `label`, which is not used" in found.said
    with pytest.raises(DataError, match="`label` is 2; it is true"):
        read(rows, format="kto")


def test_unlabelled_row_is_never_trained_as_good(read: Reader) -> None:
    """The row stands among labelled ones."""
    rows = [{"messages": [ASKED, GOOD], "label": number % 2} for number in range(30)]
    with pytest.raises(DataError, match="`label` is null; it is true"):
        read([*rows, {"messages": [ASKED, BAD], "label": None}])


def test_labels_of_other_tools_need_recipe_format(read: Reader) -> None:
    rows = [
        {"messages": [ASKED, GOOD], "label": "desirable"},
        {"messages": [ASKED, BAD], "label": "undesirable"},
    ]
    assert len(read(rows, format="kto").texts) == 1
