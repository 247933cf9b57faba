"""Plain text longer than `max_seq_length` is trained in chunks, every token of it exactly once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare, sample
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.tokenization.truncation import split_long
from engine.data.types import UNTRAINED

STORY = " ".join(f"{number} birds in the hand" for number in range(60))


def config(folder: Path, rows: list[dict[str, Any]], limit: int = 64, **data: Any) -> TrainConfig:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = {"base": "starter", "max_seq_length": limit}
    return TrainConfig.model_validate(
        {"model": model, "data": {"train": str(path), "validation": 0.0, **data}}
    )


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 400), st.integers(8, 64), st.integers(0, 80), st.integers(0, 2))
def test_chunks_train_each_token_once(length: int, limit: int, overlap: int, front: int) -> None:
    """Each token is trained behind its own past."""
    lead = [1000 + number for number in range(front)]
    ids = [*lead, *range(length)]
    found = split_long(Encoded(ids, ((max(front, 1), len(ids)),), splittable=True), limit, overlap, lead)
    trained = []
    for part in found:
        assert len(part.ids) <= limit
        assert part.ids[:front] == lead
        body = part.ids[front:]
        assert body == list(range(body[0], body[0] + len(body)))
        [(start, end)] = part.spans
        assert end == len(part.ids)
        trained += part.ids[start:end]
    # The first token of all, with nothing in front of it, is the one that nothing can predict.
    assert trained == list(range(0 if front else 1, length))


def test_long_text_is_trained_to_its_end(tmp_path: Path, tiny_model: Path) -> None:
    whole = prepare(config(tmp_path, [{"text": STORY}], limit=4096), tiny_model).train
    dataset = prepare(config(tmp_path, [{"text": "A fox."}, {"text": STORY}], chunk_overlap=16), tiny_model)
    parts = list(dataset.train)[1:]
    trained = [int(label) for part in parts for label in part.labels if label != UNTRAINED]
    assert trained == [int(label) for label in whole[0].labels[1:]]
    assert all(len(part.input_ids) <= 64 for part in parts)
    assert all((part.labels[:16] == UNTRAINED).all() and part.labels[16] != UNTRAINED for part in parts[1:])
    assert (
        f"1 of 2 rows are texts longer than model.max_seq_length 64: trained in {len(parts)} chunks"
        in " ".join(dataset.notes)
    )


def test_long_completion_is_cut_like_chat(tmp_path: Path, tiny_model: Path) -> None:
    dataset = prepare(config(tmp_path, [{"prompt": "Tell: ", "completion": STORY}]), tiny_model)
    assert [len(example.input_ids) for example in dataset.train] == [64]
    assert any("were cut" in note for note in dataset.notes)


def test_split_keeps_chunks_of_row_together(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"text": " ".join([letter * 3] * 100)} for letter in "abcdefgh"]
    dataset = prepare(config(tmp_path, rows, validation=0.25), tiny_model)
    assert dataset.validation is not None
    tokenizer = Tokenizer.load(tiny_model)
    sides = [
        {tokenizer.decode(example.input_ids.tolist())[1] for example in side} - {" "}
        for side in (dataset.train, dataset.validation)
    ]
    assert [len(letters) for letters in sides] == [6, 2]
    assert not sides[0] & sides[1]
    assert any("2 of 8 rows are used for validation" in note for note in dataset.notes)


def test_plan_counts_chunks(tmp_path: Path, tiny_model: Path) -> None:
    long = config(tmp_path, [{"text": STORY}] * 40)
    every = len(prepare(long, tiny_model).train)
    looked, count = sample(long, tiny_model, rows=10)
    assert (len(looked.train), count) == (every // 4, every)


@pytest.mark.parametrize("overlap", [0, 10_000])
def test_any_chunk_overlap_leaves_room(overlap: int, tmp_path: Path, tiny_model: Path) -> None:
    dataset = prepare(config(tmp_path, [{"text": STORY}], chunk_overlap=overlap), tiny_model)
    assert len(dataset.train) > 1
