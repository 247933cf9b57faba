"""Completions of the filter as it is typed."""

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from textual.suggester import Suggester

from engine.metrics.registry import EVAL_LOSS
from engine.runs.directory.state import Status
from engine.runs.index.filter import BEST, FIELDS
from engine.runs.index.summary import RunSummary


class FilterSuggester(Suggester):
    """Completes the last word: a field, a status, or a tag or name that runs have."""

    def __init__(self, runs: Callable[[], Sequence[RunSummary]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._runs = runs

    async def get_suggestion(self, value: str) -> str | None:
        word = value.rpartition(" ")[2].removeprefix("-")
        field, colon, part = word.partition(":")
        part = part.rpartition(",")[2]
        if not (part if colon else field):
            return None
        choices = self._values(field) if colon else self._fields()
        wanted = part if colon else field
        found = next((each for each in choices if each.startswith(wanted) and each != wanted), None)
        return value + found[len(wanted) :] if found else None

    def _values(self, field: str) -> Iterable[str]:
        if field == "status":
            return [*get_args(Status), "damaged"]
        if field == "tag":
            return sorted({tag for run in self._runs() for tag in run.tags})
        return dict.fromkeys(run.name for run in self._runs()) if field == "name" else ()

    def _fields(self) -> list[str]:
        """Fields with what follows them, a colon where they are text; and those of other metrics that runs have."""
        metrics = {run.state.best_metric for run in self._runs() if run.state.best is not None} - {EVAL_LOSS}
        fields = [f"{name}:" if field.kind == "text" else name for name, field in FIELDS.items()]
        return [*fields, *(f"{BEST}{metric}" for metric in sorted(metrics))]
