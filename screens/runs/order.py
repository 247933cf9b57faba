"""Orders of the list of runs."""

from collections.abc import Sequence

from engine.runs.index.summary import RunSummary

ORDERS = ("newest", "best", "loss", "name")


def ordered(runs: Sequence[RunSummary], by: str) -> list[RunSummary]:
    """The runs, which come newest first, in one of `ORDERS`: best, lowest loss or name first.

    Those without a number come last.
    """
    if by == "name":
        return sorted(runs, key=lambda run: run.name.casefold())
    if by == "newest":
        return list(runs)

    def figure(run: RunSummary) -> tuple[bool, float]:
        value = run.state.best if by == "best" else run.state.loss
        return (True, 0.0) if value is None or value != value else (False, value)

    return sorted(runs, key=figure)
