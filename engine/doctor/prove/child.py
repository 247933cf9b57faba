"""The process of a proof: `python -m engine.doctor.prove.child SECONDS`; one line of JSON for each claim.

Its FT_HOME is a folder for the proof alone, in which the starter is ready.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from engine import paths
from engine.doctor.prove import learning, results, tiny
from engine.doctor.prove.claim import TEXTS, Claim
from engine.doctor.prove.learning import NotHere, Outcome
from engine.doctor.prove.trial import Bench
from engine.errors import FtError
from engine.hardware.probe import Machine, probe
from engine.models import starter
from engine.runs.directory.run import Run


class Proof:
    """All claims over one folder; what several of them need is made once."""

    def __init__(self, folder: Path, machine: Machine, seconds: float) -> None:
        self.bench = Bench(folder, starter.folder(), tiny.rows(folder / "rows.jsonl"))
        self.machine = machine
        self.seconds = seconds
        self.began = time.monotonic()
        self.curves = cache(partial(learning.curves, self.bench, machine, self._late))
        self.starter_run = cache(partial(results.starter_run, self.bench))

    def claims(self) -> Iterator[Claim]:
        """The claims in the order of `TEXTS`, as each is settled."""
        tries: dict[str, Callable[[], Outcome | str]] = {
            "resumed": lambda: learning.resumed(self.bench, self.machine),
            "memory": lambda: results.memory(self._run()),
            "speed": lambda: results.speed(self._run()),
            "export": lambda: results.exports(self.bench),
            "packed": lambda: learning.packed(self.curves()),
            "backends": lambda: learning.backends(self.curves()),
            "quantised": lambda: learning.quantised(self.bench, self.machine),
            "memory-runs-out": lambda: results.memory_runs_out(self.bench, self.machine),
        }
        for name in TEXTS:
            yield self._settled(name, tries[name])

    def _settled(self, name: str, attempt: Callable[[], Outcome | str]) -> Claim:
        text, began = TEXTS[name], time.monotonic()
        if self._late() and name != "backends":  # it takes no time once the families are trained
            return Claim(name, text, "not run", "no time was left; --minutes gives it more")
        try:
            found = attempt()
        except NotHere as reason:
            return Claim(name, text, "not run", str(reason))
        except FtError as error:
            return Claim(name, text, "broken", error.message, time.monotonic() - began)
        seconds = time.monotonic() - began
        if isinstance(found, str):
            return Claim(name, text, "measured", found, seconds)
        return Claim(name, text, "holds" if found[0] else "broken", found[1], seconds)

    def _late(self) -> bool:
        return time.monotonic() - self.began > self.seconds

    def _run(self) -> Run:
        return self.starter_run()


def main(seconds: float) -> None:
    """Print each claim as it is settled."""
    folder = paths.home() / "proof"
    folder.mkdir(parents=True, exist_ok=True)
    for claim in Proof(folder, probe(), seconds).claims():
        print(json.dumps(claim.to_json()), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
