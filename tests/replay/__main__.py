"""Train every recipe of the replay with two versions of ft on this machine, and say where the runs differ.

    make replay BASE=main                       # the working tree against a commit: bits, not closeness
    python -m tests.replay --base main full     # one recipe alone
    python -m tests.replay --record             # write recorded/, which `make test` compares with

Both sides run in the environment that this one runs in. Exit code 1 where anything differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.replay.recipes import REPLAYS
from tests.replay.record import Record, ReplayError, record

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
SHOWN = 5
"""So many differences of a kind are printed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="recipe", help=f"of {', '.join(REPLAYS)}; all if left out"
    )
    does = parser.add_mutually_exclusive_group(required=True)
    does.add_argument("--base", metavar="COMMIT", help="compare the working tree with it")
    does.add_argument("--record", action="store_true", help="write the portable records anew")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(REPLAYS):
        parser.error(f"no recipe is named {', '.join(sorted(unknown))}")
    names = arguments.names or list(REPLAYS)
    if arguments.record:
        return write_records(names)
    with checked_out(arguments.base) as base:
        return compare(base, names)


def write_records(names: Sequence[str]) -> int:
    """Write what `make test` compares with; returns the exit code."""
    RECORDED.mkdir(exist_ok=True)
    for name in names:
        text = json.dumps(made(ROOT, name).portable(), indent=1, ensure_ascii=False)
        (RECORDED / f"{name}.json").write_text(text + "\n")
        print(f"{name}: recorded", flush=True)
    return 0


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder of their own, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="ft-replay-") as folder:
        checkout = Path(folder) / "base"
        git("worktree", "add", "--quiet", "--detach", str(checkout), commit)
        try:
            yield checkout
        finally:
            git("worktree", "remove", "--force", str(checkout))


def git(*arguments: str) -> None:
    """Run git in this repository; what it has to say goes to stderr. Raises `SystemExit` where it fails."""
    if code := subprocess.run(["git", "-C", str(ROOT), *arguments], check=False).returncode:
        raise SystemExit(code)


def compare(base: Path, names: Sequence[str]) -> int:
    """Make each run twice and print what differs; returns the exit code."""
    differing = 0
    for name in names:
        try:
            found = list(differences(made(base, name), made(ROOT, name)))
        except ReplayError as error:
            found = [str(error)]
        print(f"{name}: {f'{len(found)} that differ' if found else 'equal'}", flush=True)
        for line in found[:SHOWN]:
            print(f"  {line}", flush=True)
        differing += bool(found)
    print(f"{len(names) - differing} of {len(names)} runs are equal in every bit")
    return int(differing > 0)


def made(checkout: Path, name: str) -> Record:
    """The record of a replay by the ft of a checkout. Raises `ReplayError`."""
    with tempfile.TemporaryDirectory(prefix="ft-replay-") as folder:
        return record(checkout, REPLAYS[name], Path(folder))


def differences(before: Record, after: Record) -> Iterator[str]:
    """Differences between two records, a line each."""
    old, new = asdict(before), asdict(after)
    for part in ("plan", "weights"):
        for key in sorted({**old[part], **new[part]}):
            yield from told(f"{part} {key}", old[part].get(key), new[part].get(key))
    for part in ("events", "tokens"):
        for number, (left, right) in enumerate(zip_longest(old[part], new[part])):
            yield from told(f"{part} {number}", left, right)


def told(what: str, before: Any, after: Any) -> Iterator[str]:
    if before != after:
        yield f"{what}: {before} before, {after} now"


if __name__ == "__main__":
    sys.exit(main())
