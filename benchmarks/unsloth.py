"""Training speed and memory against Unsloth on the CPU: the same model, rows, order, batch and length.

    make test-unsloth                  # once: makes .venv-unsloth
    python benchmarks/unsloth.py [--rows FILE] [--steps 10] [--sides ft unsloth unsloth-checkpointing ft-unsloth]

`ft` is the torch backend, `unsloth` is Unsloth with TRL's trainer as its own documents use it (with and without its
checkpointing), `ft-unsloth` is Unsloth under ft's loop. Each side is a process of its own, one after the other; those
with Unsloth run in .venv-unsloth. Speeds are real tokens, padding left out, over all steps but the first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.train import BATCH, LENGTH, ROWS, in_ft_order, table, timed_training, trl_settings, with_ft  # noqa: E402

PYTHON = ROOT / ".venv-unsloth" / "bin" / "python"
SIDES = ("ft", "unsloth", "unsloth-checkpointing", "ft-unsloth")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="alpaca rows as a JSON array")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        side, rows = arguments.child[0], Path(arguments.child[1])
        print(json.dumps(CHILDREN[side](rows)))
        return
    if not arguments.rows.is_file():
        sys.exit(f"{arguments.rows} is not here; name a file of alpaca rows with --rows.")
    if not PYTHON.exists():
        sys.exit("Unsloth has an environment of its own; make it with: make test-unsloth")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        rows.write_text(json.dumps(json.loads(arguments.rows.read_text())[: BATCH * arguments.steps]))
        results = {side: run(side, rows) for side in arguments.sides}
    print(table(results))


def run(side: str, rows: Path) -> dict[str, Any]:
    """One side in a process of its own; -P, else this file would be taken for the package."""
    print(f"training with {side} …", file=sys.stderr, flush=True)
    python = sys.executable if side == "ft" else PYTHON
    command = [str(python), "-P", __file__, "--child", side, str(rows)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def with_unsloth(rows: Path, checkpointing: bool) -> dict[str, Any]:
    """Train with Unsloth's model and SFTTrainer on the rows in ft's own order."""
    from unsloth import FastLanguageModel  # before transformers, which it changes

    from engine.models.resolve import resolve

    folder = resolve("starter").folder
    data, tokens = in_ft_order(rows, folder)
    mode = "unsloth" if checkpointing else False
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=LENGTH, load_in_4bit=False, use_gradient_checkpointing=mode
    )
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, target_modules="all-linear", use_gradient_checkpointing=mode
    )
    settings = trl_settings(rows.with_name("unsloth"), half=True)  # Unsloth takes bf16 back where it is slow
    settings.gradient_checkpointing = checkpointing
    return {"tokens": tokens} | timed_training(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer
    )


CHILDREN: dict[str, Any] = {
    "ft": with_ft,
    "unsloth": lambda rows: with_unsloth(rows, False),
    "unsloth-checkpointing": lambda rows: with_unsloth(rows, True),
    "ft-unsloth": lambda rows: with_ft(rows, backend="unsloth"),
}

if __name__ == "__main__":
    main()
