"""Make a run with the `ft` of a checkout, and read from its folder what a refactoring must not change.

Everything is read from files as they lie there (JSON lines, safetensors), with no module of ft: so one reader serves
two versions of it. Where a later version writes an event otherwise, `fact` is the place that reads both the same.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.replay.recipes import Replay

HOOK = Path(__file__).parent / "hook"
FT = "import sys; from ft.cli import main; sys.exit(main())"
COMPLETED, STOPPED = 0, 130
"""Exit codes of `ft train`."""
PLANNED = (
    "backend", "weights_dtype", "compute_dtype", "packing", "micro_batch_rows", "effective_batch_size",
    "gradient_checkpointing", "epochs", "steps", "examples", "tokens_per_epoch", "trained_tokens_per_epoch", "longest",
    "row_order",
)  # fmt: skip
"""Keys of a plan that depend on the recipe and the rows alone; the rest depends on the machine."""
FACTS = {
    "step": ("step", "total", "epoch", "loss", "lr", "grad_norm", "tokens", "trained_tokens"),
    "eval": ("step", "loss", "perplexity", "metrics", "best"),
    "sample": ("step", "prompt", "text"),
    "saved": ("step", "path", "kind"),
    "started": ("resumed_from",),
    "warning": ("message",),
    "failed": ("kind", "message"),
    "finished": ("reason", "step"),
    "phase": ("name",),
}
"""Compared keys of each event; clocks, speeds, memory, process numbers and progress are left out."""
SOMETIMES = {"step": ("metrics",), "eval": ("best_by",)}
"""Keys compared in events that have them: version 0.1.0 wrote none of these."""
MACHINE = re.compile(r"\d+(\.\d+)? [kMG]i?B")
"""Amounts of memory in a message."""
REWORDED = {"going on with micro-batches": "continuing with micro-batches", "to be had": "available"}
"""Words of version 0.1.0's messages, and what is written in their place today."""
WEIGHTS = "*.safetensors"


class ReplayError(Exception):
    """A run did not end as it should have; the message has what it said."""


@dataclass(frozen=True)
class Record:
    """Record of a run.

    `tokens` are digests of the rows and prompts of each forward pass of torch, in order; `weights` maps every file of
    tensors in the run's folder to the digest of its bytes.
    """

    plan: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    tokens: tuple[str, ...]
    weights: Mapping[str, str]

    def portable(self) -> dict[str, Any]:
        """The part that another machine's fp32 arithmetic comes close to; see `recorded/`."""
        events = [e for e in self.events if e["type"] not in ("phase", "sample")]
        return asdict(self) | {"events": events, "weights": sorted(self.weights)}


def record(checkout: Path, replay: Replay, folder: Path) -> Record:
    """Train a replay's recipe in an empty folder, stopping and resuming as it says. Raises `ReplayError`."""
    recipe, run, tokens = replay.write(folder), folder / "run", folder / "tokens.jsonl"
    asked = {"REPLAY_STOP_AT": replay.stop_at, "REPLAY_EXHAUST_AT": replay.exhaust_at}
    happens = {name: str(at) for name, at in asked.items() if at is not None}
    stops = replay.stop_at is not None
    train(checkout, folder, happens, str(recipe), "--run-dir", str(run), ends=STOPPED if stops else COMPLETED)
    if stops:
        train(checkout, folder, {}, "--resume", str(run))
    return Record(planned(run), tuple(facts(run)), tuple(digests(tokens)), weights(run))


def train(
    checkout: Path, folder: Path, environment: Mapping[str, str], *arguments: str, ends: int = COMPLETED
) -> None:
    """`ft train` of the checkout, on one thread, so that sums have one order.

    Raises `ReplayError` where its exit code is another than `ends`.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", FT, "train", *arguments, "--plain"],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, (HOOK, checkout))),
            "FT_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "REPLAY_TOKENS": str(folder / "tokens.jsonl"),
        }
        | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != ends:
        raise ReplayError(f"ft train ended with {done.returncode}:\n{done.stderr[-4000:]}")


def planned(run: Path) -> dict[str, Any]:
    """The plan's decisions about the recipe's rows."""
    plan = json.loads((run / "plan.json").read_text())
    known = plan | plan.get("decisions", {}) | plan.get("work", {})  # side by side in ft 0.1.0
    return {name: known.get(name) for name in PLANNED}


def lines(run: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of events.jsonl."""
    for line in (run / "events.jsonl").read_bytes().splitlines():
        yield json.loads(line)


def facts(run: Path) -> Iterator[Mapping[str, Any]]:
    """Compared parts of the run's events, in order; of equal neighbours one."""
    told = (found for line in lines(run) if (found := fact(line)) is not None)
    yield from (same for same, _ in groupby(told))


def fact(line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Compared part of an event; None if nothing is compared."""
    if line["type"] not in FACTS:
        return None
    found = {name: line.get(name) for name in FACTS[line["type"]]}
    found |= {name: line[name] for name in SOMETIMES.get(line["type"], ()) if name in line}
    if "message" in found:
        found["message"] = same_words(MACHINE.sub("…", found["message"]))
    return {"type": line["type"]} | found


def same_words(message: str) -> str:
    """The message as it is worded today."""
    for old, new in REWORDED.items():
        message = message.replace(old, new)
    return message


def digests(tokens: Path) -> Iterator[str]:
    """A digest for each forward pass; none where torch computed nothing."""
    if tokens.exists():
        yield from (short(line) for line in tokens.read_bytes().splitlines())


def weights(run: Path) -> dict[str, str]:
    """Digests of the files of tensors, by their paths within the run's folder."""
    return {str(path.relative_to(run)): short(path.read_bytes()) for path in sorted(run.rglob(WEIGHTS))}


def short(content: bytes) -> str:
    """The first 16 hexadecimal digits of the content's SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
