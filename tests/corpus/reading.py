"""Reads rows as a run does: what the model sees of each, what of it is trained, and what is reported."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
from engine.data.tokenization.tokenizer import Tokenizer
from ft.command_table import app
from tests.test_data_golden import shown

DATA = Path(__file__).parent / "data"
ASKED = {"role": "user", "content": "Capital of Peru?"}
GOOD, BAD = {"role": "assistant", "content": "Lima."}, {"role": "assistant", "content": "I hate you."}
TOOL = {
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@dataclass(frozen=True)
class Read:
    """`texts` are the examples with `⟦⟧` around what is trained, `notes` what a run says of the rows."""

    texts: list[str]
    notes: tuple[str, ...]

    @property
    def said(self) -> str:
        """All notes."""
        return "\n".join(self.notes)


@dataclass(frozen=True)
class Reader:
    """Reads for one model; rows come from a file, or are written into `folder` first."""

    model: Path
    folder: Path

    def __call__(self, rows: Any, *, template: str = "chatml", **data: Any) -> Read:
        """A file of the corpus by its name, a path, or rows. Raises what preparing raises."""
        if isinstance(rows, list):
            path = self.folder / "rows.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        else:
            path = DATA / rows
        dataset = prepare(
            TrainConfig.model_validate(
                {
                    "model": {"base": "starter", "chat_template": template},
                    "data": {"train": str(path), "validation": 0.0, **data},
                }
            ),
            self.model,
        )
        tokenizer = Tokenizer.load(self.model)
        return Read([shown(example, tokenizer) for example in dataset.train], dataset.notes)


def chatml(*turns: tuple[str, str]) -> str:
    """A conversation under ChatML; the answers in `⟦⟧` of their own are trained."""
    text = ""
    for role, content in turns:
        trained = content.startswith("⟦")
        end = "<|im_end|>⟧\n" if trained else "<|im_end|>\n"
        text += f"{'<|im_start|>'}{role}\n{content.removesuffix('⟧')}{end}"
    return text


def ft(*arguments: str) -> Any:
    """Output and exit code of a command."""
    return CliRunner().invoke(app, list(arguments))
