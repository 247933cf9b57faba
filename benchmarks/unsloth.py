"""Training speed and memory against Unsloth: the same model, rows, order, batch and length.

    make test-unsloth                  # once: makes .venv-unsloth
    python benchmarks/unsloth.py [--rows FILE] [--steps 3] [--device auto]
                                 [--sides ft unsloth unsloth-checkpointing ft-unsloth]

`ft` is the torch backend, `unsloth` is Unsloth with TRL's trainer as its own documents use it (with and without its
checkpointing), `ft-unsloth` is Unsloth under ft's loop. Each side is a process of its own, one after the other; those
with Unsloth run in .venv-unsloth. Device, speeds and memory are as in benchmarks/train.py. Unsloth in bf16 is slow on a
CPU that has no instructions for it, so there are few steps where --steps does not say.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.train import LENGTH, Side, compare, in_ft_order, timed_training, trl_settings, with_ft  # noqa: E402

PYTHON = ROOT / ".venv-unsloth" / "bin" / "python"


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


SIDES = {
    "ft": Side(with_ft),
    "unsloth": Side(lambda rows: with_unsloth(rows, False), str(PYTHON)),
    "unsloth-checkpointing": Side(lambda rows: with_unsloth(rows, True), str(PYTHON)),
    "ft-unsloth": Side(lambda rows: with_ft(rows, backend="unsloth"), str(PYTHON)),
}

if __name__ == "__main__":
    if not PYTHON.exists():
        sys.exit("Unsloth has an environment of its own; make it with: make test-unsloth")
    compare(__file__, __doc__, SIDES, steps=3)
