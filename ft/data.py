"""Rows of any source as a `datasets.Dataset`.

import ft

rows = ft.data.load("OWNER/NAME", split="test")
chats = ft.data.load("chats.csv", messages=True)
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config.load import load_text

if TYPE_CHECKING:
    from datasets import Dataset


def load(
    source: str | os.PathLike[str] = "starter",
    *,
    messages: bool = False,
    seed: int = 42,
    on_error: str = "stop",
    train_on: str = "assistant",
    **keys: Any,
) -> "Dataset":
    """The rows of a source, which is anything that `data.train` of a recipe takes, as ft reads them.

    `keys` are those of a source in a recipe: `split`, `config`, `revision`, `format`, `columns`, `template`,
    `max_samples` and so on. With `messages`, each row is what ft trains: `messages` and `tools`, or `prompt` and
    `completion`, or `text`. Rows that cannot be read are left out with `on_error="skip"`. Paths are seen from the
    working folder.

    Raises FtError for what is wrong with the source or a row, with the file and the row in its message.
    """
    from engine.data.as_dataset import load as loaded

    train = {"path": os.fspath(source), **keys}
    data: Mapping[str, Any] = {"train": train, "validation": 0, "on_error": on_error, "train_on": train_on}
    text = json.dumps({"model": {"base": "starter"}, "data": data})
    return loaded(load_text(text, Path("ft.data.load")).config.data, seed, messages=messages)
