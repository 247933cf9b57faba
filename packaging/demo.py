"""Steps of `make demo` after installing: train the starter recipe, show the model before and after, export it."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ft
from engine.data.types import Message
from engine.models.starter import folder
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


def command(*words: str) -> int:
    """Show and run an `ft` command; its exit code."""
    print(f"$ ft {' '.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-P", "-m", "ft.cli", *words], cwd=ROOT, check=False).returncode


def export(run: ft.Run, out: Path) -> int:
    """Export the run as a GGUF, proved by llama.cpp, and have llama.cpp answer with it; the exit code of the export."""
    if find_spec("xllamacpp") is None:
        print("llama.cpp (xllamacpp) has no wheel for this machine, so nothing is exported here.")
        return 0
    code = command("export", run.id, "--format", "gguf", "--quantize", "q8_0", "--force", "-o", str(out))
    if code:
        return code
    from engine.parity.llama_cpp import loaded

    prompt, _ = held_out_row()
    [file] = out.glob("*.gguf")
    with loaded(file, folder()) as llama_cpp:
        print(f"llama.cpp     {llama_cpp.answer([Message('user', prompt)], max_tokens=64)}\n")
    return 0


def main() -> int:
    if code := command("train", "train.yml"):
        return code
    run = ft.open_run()
    show(run)
    run.close()
    if code := export(run, ROOT / "build" / "demo-gguf"):
        return code
    print(f"Talk to it:   {Path(sys.executable).with_name('ft')} chat")
    return 0


if __name__ == "__main__":
    sys.exit(main())
