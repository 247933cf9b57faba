"""Steps of `make demo` after installing: train the starter recipe, then show the model before and after."""

import json
import subprocess
import sys
from pathlib import Path

import ft
from engine.runs.directory.events import Eval

ROOT = Path(__file__).parent.parent
HELD_OUT = ROOT / "engine" / "data" / "starter" / "validation.jsonl"


def held_out_row() -> tuple[str, str]:
    """The first order that is never trained on, and its JSON."""
    question, answer = json.loads(HELD_OUT.read_text(encoding="utf-8").splitlines()[0])["messages"]
    return question["content"], answer["content"]


def show(run: ft.Run) -> None:
    """Scores of the run's first and last evaluation, and one validation row answered by both models."""
    evals = [event for event in run.events(follow=False) if isinstance(event, Eval)]
    before, after = (evals[index].metrics["exact_match"] for index in (0, -1))
    prompt, expected = held_out_row()
    print(f"\nExact match on validation orders: {before:.0%} before training, {after:.0%} after\n")
    print(f"One of them   {prompt}")
    print(f"  before      {' '.join(run.generate(prompt, base=True, max_tokens=64).split())}")
    print(f"  after       {run.generate(prompt, max_tokens=64)}")
    print(f"  expected    {expected}\n")
    print(f"Talk to it:   {Path(sys.executable).with_name('ft')} chat")


def main() -> int:
    print("$ ft train train.yml", flush=True)
    trained = subprocess.run(
        [sys.executable, "-P", "-m", "ft.cli", "train", "train.yml"], cwd=ROOT, check=False
    )
    if trained.returncode:
        return trained.returncode
    run = ft.open_run()
    show(run)
    run.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
