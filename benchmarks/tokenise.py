"""Rows to trained tokens: `ft` against `datasets.map(batched=True)` with the same tokenizer, in one run.

    python benchmarks/tokenise.py [ROWS.json | ROWS.jsonl] [--model FOLDER] [--rows 20000]

Three comparisons on the same rows: plain text to ids; chat template to ids; and chat template to ids with
the assistant's part marked, which is what training needs. Each side starts from the file on disk, with its own
reader, and ends with all ids on disk: in ft's cache, whose files are mapped, or in the Arrow table that `datasets`
makes. Neither side finds what an earlier run has kept.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
from engine.models import resolve

DEMO = Path(__file__).resolve().parents[2] / "shared" / "data" / "alpaca_en_demo.json"
BATCH = 1000


def main() -> None:
    """Print a table of seconds and tokens for each comparison."""
    options = _options()
    if find_spec("datasets") is None:
        sys.exit("datasets is not installed: pip install datasets, then run this again")
    model = options.model or resolve.resolve("starter").folder
    with tempfile.TemporaryDirectory() as folder:
        chat, text = _rows(options.file, options.rows, Path(folder))
        print(f"{options.rows} rows of {options.file.name}, tokenizer of {model.name}, batches of {BATCH}\n")
        print(f"{'':28}{'ft':>10}{'datasets':>12}{'ratio':>8}{'tokens':>12}")
        _compare(
            "plain text",
            lambda: _ours(text, model, "all", folder),
            lambda: _theirs(text, model, _plain, folder),
        )
        _compare(
            "chat template",
            lambda: _ours(chat, model, "all", folder),
            lambda: _theirs(chat, model, _chat, folder),
        )
        _compare(
            "chat template, masked",
            lambda: _ours(chat, model, "assistant", folder),
            lambda: _theirs(chat, model, masked, folder),
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=DEMO, help="alpaca rows; repeated to --rows")
    parser.add_argument("--model", type=Path, help="a model's folder (default: the starter)")
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    if not options.file.is_file():
        sys.exit(
            f"{options.file}: no such file; name a .json or .jsonl file of alpaca rows (instruction, input, output)"
        )
    return options


def _rows(file: Path, count: int, folder: Path) -> tuple[Path, Path]:
    """The rows repeated to `count`, as conversations and as plain text."""
    body = file.read_text(encoding="utf-8")
    rows = json.loads(body) if file.suffix == ".json" else [json.loads(line) for line in body.splitlines()]
    chat, text = folder / "chat.jsonl", folder / "text.jsonl"
    with chat.open("w") as chats, text.open("w") as texts:
        for number in range(count):
            row = rows[number % len(rows)]
            prompt = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": row["output"]}]
            chats.write(json.dumps({"messages": turns}) + "\n")
            texts.write(json.dumps({"text": f"{prompt}\n\n{row['output']}"}) + "\n")
    return chat, text


def _compare(name: str, ours: Callable[[], int], theirs: Callable[[], int]) -> None:
    """Time both sides, each the better of two runs, taken in turn so that a busy machine hurts both."""
    seconds: dict[str, float] = {}
    tokens: dict[str, int] = {}
    for _ in range(2):
        for side, run in (("ft", ours), ("datasets", theirs)):
            start = time.perf_counter()
            tokens[side] = run()
            seconds[side] = min(time.perf_counter() - start, seconds.get(side, float("inf")))
    ratio = seconds["datasets"] / seconds["ft"]
    print(f"{name:28}{seconds['ft']:>9.2f}s{seconds['datasets']:>11.2f}s{ratio:>7.2f}x{tokens['ft']:>12,}")
    if abs(tokens["ft"] - tokens["datasets"]) > tokens["ft"] * 0.01:
        print(f"  the sides disagree: datasets made {tokens['datasets']:,} tokens")


def _ours(file: Path, model: Path, train_on: str, cache: str) -> int:
    # A cache of its own: with one for both runs, the second would only open the tokens of the first.
    os.environ["FT_HOME"] = tempfile.mkdtemp(dir=cache)
    data = {"train": str(file), "validation": 0.0, "train_on": train_on}
    config = {"model": {"base": "starter", "max_seq_length": 1_000_000}, "data": data}
    return len(prepare(TrainConfig.model_validate(config), model).train.tokens)


def _theirs(file: Path, model: Path, function: Callable[..., Any], cache: str) -> int:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=tempfile.mkdtemp(dir=cache)
    )
    mapped = loaded.map(
        function,
        batched=True,
        batch_size=BATCH,
        remove_columns=loaded.column_names,
        fn_kwargs={"tokenizer": tokenizer},
    )
    return sum(len(ids) for ids in mapped.with_format("arrow")["input_ids"])


def _plain(batch: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    texts = [text + tokenizer.eos_token for text in batch["text"]]
    return {"input_ids": tokenizer(texts)["input_ids"]}


def _chat(batch: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    return {"input_ids": tokenizer.apply_chat_template(batch["messages"], return_dict=True)["input_ids"]}


def masked(batch: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """As TRL does it for prompt and completion: the ids of the prompt say how many tokens stay untrained."""
    ids = tokenizer.apply_chat_template(batch["messages"], return_dict=True)["input_ids"]
    prompts = [turns[:-1] for turns in batch["messages"]]
    prompt_ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    masks = [
        [0] * len(head) + [1] * (len(whole) - len(head)) for whole, head in zip(ids, prompt_ids, strict=True)
    ]
    return {"input_ids": ids, "completion_mask": masks}


if __name__ == "__main__":
    main()
