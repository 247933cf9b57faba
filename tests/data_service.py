"""A folder with files of rows, a model of a tokenizer alone, and the service that answers from it."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from engine.data.preview.values import View
from engine.service.client import Client
from tests.tiny import VOCAB, make_tokenizer

VIEW = View(model="tiny", max_seq_length=96)
DISHES = ("tea", "soup", "mint pizza", "ham salad", "berry tart")


def write_place(folder: Path) -> Path:
    """Files of rows of every kind, a recipe that names one of them, and a model that reads them."""
    model = folder / "tiny"
    model.mkdir(parents=True)
    make_tokenizer(model)
    about = {"model_type": "llama", "vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 128}
    about |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    (model / "config.json").write_text(json.dumps({**about, "tie_word_embeddings": True}))
    save_file({"model.norm.weight": np.zeros(64, dtype=np.float32)}, model / "model.safetensors")
    draw = random.Random(7)
    orders = [_order(number, draw) for number in range(60)]
    _jsonl(folder / "orders.jsonl", orders)
    wrong = [{"messages": [{"role": "user", "content": "Nobody answers this."}]}, {"text": "of another form"}]
    _jsonl(folder / "mixed.jsonl", [*orders[:3], wrong[0], *orders[3:8]])
    _jsonl(folder / "forms.jsonl", [orders[0], wrong[1]])
    _jsonl(folder / "columns.jsonl", [{"question": "a", "reply": "b"}])
    (folder / "notes.csv").write_text('prompt,completion\nOne,"two\nlines"\nThree,four\n')
    (folder / "empty.jsonl").write_text("")
    (folder / "train.yml").write_text(
        "model:\n  base: tiny\n  max_seq_length: 96\ndata:\n  train: orders.jsonl\n", encoding="utf-8"
    )
    return folder


@contextmanager
def serving(place: Path) -> Iterator[Client]:
    """The service, working in `place`, with a home there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(place / "home"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(place)
        with Client(place / "service.log") as client:
            yield client


def _order(number: int, draw: random.Random) -> dict[str, object]:
    dishes = {dish: draw.randint(1, 3) for dish in draw.sample(DISHES, draw.randint(1, 5))}
    asked = " and ".join(f"{count} {dish}" for dish, count in dishes.items())
    answer = json.dumps({"items": dishes}, separators=(",", ":"))
    return {
        "messages": [
            {"role": "user", "content": f"Order {number}: {asked}"},
            {"role": "assistant", "content": answer},
        ]
    }


def _jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
