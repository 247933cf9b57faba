"""Training and answering beside busy processes, against TRL beside the same ones.

    python benchmarks/shared_machine.py [--busy 0 1 2] [--rounds 7] [--steps 5] [--rows FILE]
                                        [--sides ft ft-unshared trl ft-answers]

Every side works on the starter in a process of its own: `ft` and `trl` train LoRA as in `train.py`, `ft-answers`
prompts the service, and `ft-unshared` is ft with FT_CPU_SHARING=off. A busy process counts in Python, on one
thread, and has a session of its own, as somebody else's program has.

The sides alternate within a round, first for no busy process, then for one, and so on, so that a machine that slows
down slows all of them. Ratios are made within a round; the interval holds their median with at least 95 %
probability, whatever their distribution (order statistics). Speeds are real tokens over all steps but the first, or
answered tokens. Needs the extra `bench`, and an otherwise quiet machine.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import train as training  # noqa: E402
from engine.models import starter  # noqa: E402

COUNTING = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    sum(range(100_000))"
PROMPT, ANSWERS, TOKENS = "Write a long story about a robot that learns to paint.", 3, 48


@dataclass(frozen=True)
class Side:
    """A timed side: a function that returns tokens and seconds of each part of its work, and a setting for it."""

    work: Callable[[Path], dict[str, Any]]
    setting: tuple[str, str] | None = None


def answers(rows: Path) -> dict[str, Any]:
    """Greedy answers of the starter through the service, one after the other."""
    from engine.data.token_spec import TokenSpec
    from engine.data.tokenization.tokenizer import Tokenizer
    from engine.data.types import Message, Prompt
    from engine.models.resolve import resolve
    from engine.service.client import Client

    folder, tokens, seconds = resolve("starter").folder, [], []
    tokenizer, prompt = Tokenizer.load(folder), Prompt((Message(role="user", content=PROMPT),), seed=0)
    with Client(rows.with_name("answers.log")) as client:
        for _ in range(ANSWERS):
            began = time.perf_counter()
            (answer,) = client.answers(folder, TokenSpec(), [prompt], TOKENS, 0.0)
            seconds.append(time.perf_counter() - began)
            tokens.append(len(tokenizer.encode([answer.text], special=False)[0]))
    return {"tokens": tokens, "seconds": seconds}


SIDES = {
    "ft": Side(training.with_ft),
    "ft-unshared": Side(training.with_ft, ("FT_CPU_SHARING", "off")),
    "trl": Side(lambda rows: training.with_trl(rows, half=True)),
    "ft-answers": Side(answers),
}


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """So many processes that compute all the time; they end with this one, however it ends."""
    command = [sys.executable, "-c", COUNTING]
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def tokens_per_second(name: str, rows: Path) -> float:
    """One side at work, in a session of its own as ft's engine has one."""
    command = [sys.executable, "-P", __file__, "--child", name, str(rows)]
    environment = os.environ | dict(filter(None, [SIDES[name].setting]))
    # With -P, as mlx.py beside this file is not the package of that name.
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        start_new_session=True,
        env=environment,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return sum(result["tokens"][1:]) / sum(result["seconds"][1:])


def interval(ratios: Sequence[float]) -> tuple[float, float] | None:
    """An interval that holds the median with at least 95 % probability; None of fewer than six ratios.

    Between the k-th smallest and the k-th largest of n it lies with 1 - 2 P(Binomial(n, 1/2) < k).
    """
    n, ordered = len(ratios), sorted(ratios)
    outside = [2 * sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(n // 2 + 1)]
    k = max((k for k in range(1, n // 2 + 1) if outside[k] <= 0.05), default=None)
    return None if k is None else (ordered[k - 1], ordered[n - k])


def table(speeds: dict[tuple[str, int], list[float]]) -> str:
    """Medians, and each side's ratios to itself on a quiet machine and to the first side beside the same processes."""
    first = next(iter(speeds))[0]
    heads = ("busy processes", "side", "tokens/s", "of its quiet speed", "of the first side's", "rounds")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for (side, busy), found in speeds.items():
        quiet = ratio(found, speeds.get((side, 0), [])) if busy else ""
        against = ratio(found, speeds.get((first, busy), [])) if side != first else ""
        lines.append(
            f"| {busy} | {side} | {statistics.median(found):.0f} | {quiet} | {against} | {len(found)} |"
        )
    return "\n".join([*lines, f"({os.cpu_count()} cores)"])


def ratio(these: Sequence[float], those: Sequence[float]) -> str:
    """The median of the ratios round by round, with its interval."""
    ratios = [this / that for this, that in zip(these, those, strict=False)]
    if not ratios:
        return ""
    held = interval(ratios)
    return f"{statistics.median(ratios):.2f}" + (f" ({held[0]:.2f} to {held[1]:.2f})" if held else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="how many busy processes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="two or more")
    parser.add_argument("--rows", type=Path, default=training.ROWS, help="alpaca rows as a JSON array")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=["ft", "trl"])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, rows = arguments.child
        print(json.dumps(SIDES[name].work(Path(rows))))
        return
    if not arguments.rows.is_file():
        sys.exit(f"{arguments.rows} is not here; name a file of alpaca rows with --rows.")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    starter.ensure()
    speeds: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        examples = json.loads(arguments.rows.read_text())[: training.BATCH * max(2, arguments.steps)]
        rows.write_text(json.dumps(examples))
        for number in range(arguments.rounds):
            for busy in arguments.busy:
                for side in arguments.sides if number % 2 == 0 else reversed(arguments.sides):
                    with busy_processes(busy):
                        speed = tokens_per_second(side, rows)
                    speeds.setdefault((side, busy), []).append(speed)
                    note = f"round {number + 1}: {side} beside {busy}: {speed:.0f} tokens/s"
                    print(note, file=sys.stderr, flush=True)
    print(
        table(dict(sorted(speeds.items(), key=lambda item: (item[0][1], arguments.sides.index(item[0][0])))))
    )


if __name__ == "__main__":
    main()
