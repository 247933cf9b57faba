"""Rows of every format, as they are found in the wild, rendered as text with its trained parts marked.

tests/golden/NAME.jsonl holds the rows, NAME.txt what the model sees of each: `⟦` and `⟧` go around what is trained.
After a change that is meant: `python -m tests.test_data_golden` rewrites the texts; read the difference.
"""

import sys
import tempfile
from pathlib import Path

import pytest

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import UNTRAINED, Example
from tests.tiny import make_tokenizer

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    # name: (file, model.chat_template, how the evidence starts)
    "alpaca": ("alpaca", "auto", "alpaca, because its rows have `instruction`, `output`"),
    "sharegpt": ("sharegpt", "auto", "sharegpt, because its rows have `conversations`"),
    "sharegpt_tools": ("sharegpt_tools", "chatml", "sharegpt, because"),
    "chat": ("chat", "auto", "chat, because its rows have `messages`"),
    "chat_tools": ("chat_tools", "chatml", "chat, because"),
    "shapes": ("shapes", "chatml", "chat, because"),
    "contents": ("contents", "chatml", "chat, because its rows have `contents`"),
    "labelled": ("labelled", "chatml", "kto, because its rows have `messages`, `label`"),
    "pairs": ("pairs", "chatml", "preference, because its rows have `chosen_messages`, `rejected_messages`"),
    "reasoning": ("reasoning", "chatml", "chat, because"),
    "reasoning_dropped": ("reasoning", str(GOLDEN / "drops_thinking.jinja"), "chat, because"),
    "completion": ("completion", "auto", "completion, because its rows have `text`"),
    "prompt_completion": ("prompt_completion", "auto", "prompt_completion, because its rows have `prompt`"),
    "preference": ("preference", "auto", "preference, because its rows have `chosen`, `rejected`"),
    "kto": ("kto", "auto", "kto, because its rows have `prompt`, `completion`, `label`"),
}


def shown(example: Example, tokenizer: Tokenizer) -> str:
    """The text of an example, `⟦⟧` around each part of it that is trained."""
    text, ids, trained = "", [], False
    for id_, label in zip(example.input_ids.tolist(), example.labels.tolist(), strict=True):
        if (label != UNTRAINED) != trained:
            text += tokenizer.decode(ids, skip_special=False) + ("⟧" if trained else "⟦")
            ids, trained = [], not trained
        ids.append(id_)
    return text + tokenizer.decode(ids, skip_special=False) + ("⟧" if trained else "")


def made(name: str, model: Path) -> tuple[str, str]:
    """Text that the rows of a case become, and the note on what was detected."""
    file, template, _ = CASES[name]
    config = TrainConfig.model_validate(
        {
            "model": {"base": "starter", "chat_template": template},
            "data": {"train": str(GOLDEN / f"{file}.jsonl"), "validation": 0.0},
        }
    )
    dataset = prepare(config, model)
    tokenizer = Tokenizer.load(model)
    examples = [f"--- {number}\n{shown(each, tokenizer)}\n" for number, each in enumerate(dataset.train, 1)]
    return "".join(examples), dataset.notes[0]


@pytest.mark.parametrize("name", CASES)
def test_rows_render_as_reviewed_golden_text(name: str, tiny_model: Path) -> None:
    text, found = made(name, tiny_model)
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert f"{CASES[name][0]}.jsonl: {CASES[name][2]}" in found


def main() -> None:
    """Rewrite all texts."""
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(Path(folder))
        for name in sys.argv[1:] or CASES:
            (GOLDEN / f"{name}.txt").write_text(made(name, Path(folder))[0], encoding="utf-8")


if __name__ == "__main__":
    main()
