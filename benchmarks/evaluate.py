"""Greedy answers to many prompts: one by one, by `transformers`' own batched `generate`, and by ft, in one run.

    .venv/bin/python benchmarks/evaluate.py [--rows 128] [--tokens 96] [--slots 32]

The prompts are questions of a file, under the starter's chat template. All three ways use the same weights, in the
precision in which ft answers here, the same prompts and the same limit of tokens, and stop at the same tokens. One by
one is as `ft chat` answers. `generate` is that of the model as `from_pretrained` loads it, and gets batches of as many
rows as ft has slots, sorted by length, padded on the left. What is shown is the answers' tokens a second, and how many
answers are those of one by one to the token.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.backends.refilled import greedy_answers  # noqa: E402
from engine.backends.torch.causal_lm import TorchModel  # noqa: E402
from engine.data.token_spec import TokenSpec  # noqa: E402
from engine.data.types import Message  # noqa: E402
from engine.models.resolve import resolve  # noqa: E402

ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"


def main() -> None:
    """Print a table of the three ways."""
    options = _options()
    folder = resolve("starter").folder
    tokenizer = TokenSpec().tokenizer(folder)
    prompts = [
        tokenizer.prompt_ids([Message("user", text)]) for text in _questions(options.file, options.rows)
    ]
    model, stop = TorchModel.open(folder, None), tokenizer.stop_ids
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens, slots = options.tokens, options.slots

    def one_by_one() -> list[list[int]]:
        return [[*model.stream(prompt, tokens, stop)] for prompt in prompts]

    def refilled() -> list[list[int]]:
        most = [tokens] * len(prompts)
        return _ordered(greedy_answers(model, prompts, most, stop, slots, lambda: None))

    def batched() -> list[list[int]]:
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        found: list[tuple[int, list[int]]] = []
        for start in range(0, len(order), slots):
            part = order[start : start + slots]
            answers = _generate(theirs, [prompts[place] for place in part], tokens, stop)
            found += zip(part, answers, strict=True)
        return _ordered(found)

    list(
        greedy_answers(model, prompts[:2], [2, 2], stop, 2, lambda: None)
    )  # the trial of the batch, and caches
    ways = {"one by one": one_by_one, "transformers' generate": batched, "ft, slots refilled": refilled}
    print(
        f"{len(prompts)} prompts, answers of up to {tokens} tokens, {slots} rows together, {model.compute}\n"
    )
    print(f"{'':24}{'seconds':>9}{'tokens/s':>10}{'tokens':>9}{'same':>7}")
    _compare(ways, len(prompts))


def _compare(ways: dict[str, Callable[[], list[list[int]]]], count: int) -> None:
    speeds: dict[str, float] = {}
    alone: list[list[int]] = []
    for name, answer in ways.items():
        began = time.perf_counter()
        answers = answer()
        seconds = time.perf_counter() - began
        alone = alone or answers
        written = sum(map(len, answers))
        same = sum(one == other for one, other in zip(answers, alone, strict=True))
        speeds[name] = written / seconds
        print(f"{name:24}{seconds:9.1f}{written / seconds:10.1f}{written:9}{same:4}/{count}")
    first, second, ours = speeds.values()
    print(
        f"\nft is {ours / first:.1f} times as fast as one by one, {ours / second:.1f} times as fast as generate"
    )


def _generate(
    model: Any, prompts: Sequence[Sequence[int]], tokens: int, stop: Collection[int]
) -> list[list[int]]:
    """Answers by `transformers`' generate, as its documentation batches prompts."""
    width, pad = max(map(len, prompts)), min(stop)
    ids = torch.tensor([[pad] * (width - len(one)) + [*one] for one in prompts])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts])
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False,
            pad_token_id=pad, eos_token_id=sorted(stop),
        )  # fmt: skip
    found = []
    for row in output[:, width:].tolist():
        end = next((at for at, token in enumerate(row) if token in stop), len(row))
        found.append(row[:end])
    return found


def _ordered(found: Iterable[tuple[int, list[int]]]) -> list[list[int]]:
    return [tokens for _, tokens in sorted(found)]


def _questions(file: Path, count: int) -> list[str]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    texts = [f"{row['instruction']}\n\n{row.get('input', '')}".strip() for row in rows]
    return [texts[number % len(texts)] for number in range(count)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "file", nargs="?", type=Path, default=ROWS, help="alpaca rows, for their instructions"
    )
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--slots", type=int, default=32)
    return parser.parse_args()


if __name__ == "__main__":
    main()
