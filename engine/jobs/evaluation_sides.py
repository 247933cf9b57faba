"""Both sides of an evaluation, measured: the model, and the one that it is compared with."""

import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import ConfigError
from engine.evaluation import general
from engine.evaluation.adapter_off import adapter_off, adapter_on
from engine.evaluation.measuring import Measuring, Rows
from engine.jobs.base import JobContext
from engine.jobs.evaluation_options import BASE, Evaluation
from engine.jobs.evaluation_subject import Subject
from engine.metrics.base import Need, Results
from engine.runs.directory.events import Phase, Warned

if TYPE_CHECKING:
    from engine.backends.base import Model
    from engine.data.types import Batch
    from engine.evaluation.harness import Scored

PROBE_TEXTS = 4
"""Texts on which it is checked that an adapter is on, or off."""
TASK, GENERAL = "task", "general"
"""Names of the set of rows that are named or validate, and of that of general rows."""


@dataclass(frozen=True)
class RowSet:
    """Rows that both models are scored on: those of ours, and of the other in its own tokens."""

    ours: Rows
    theirs: Rows

    @property
    def same_tokens(self) -> bool:
        """True if both see the same texts as the same tokens, so that losses a token can be compared."""
        import numpy as np

        a, b = self.ours.examples, self.theirs.examples
        same = np.array_equal(a.tokens, b.tokens) and np.array_equal(a.trained, b.trained)
        return same and np.array_equal(a.offsets, b.offsets)


@dataclass(frozen=True)
class Side:
    """Results of one model on each set of rows, and its scores on lm-eval's tasks."""

    sets: Mapping[str, Results]
    tasks: "Sequence[Scored]" = ()


@dataclass(frozen=True)
class Sides:
    """Measures the model of `subject` and that of `other`, on the sets of rows by their names."""

    context: JobContext
    evaluation: Evaluation
    subject: Subject
    other: Subject | None
    sets: Mapping[str, RowSet]
    needs: frozenset[Need]

    def measured(self) -> tuple[Side, Side | None]:
        """Results of both; the second is the first with its adapter off, or is loaded when the first is freed."""
        with_base = self.evaluation.compared == BASE
        probe = self._probe() if self.subject.model.adapter else None
        loaded = self.subject.load()
        with adapter_on(loaded, probe) if probe and self.evaluation.tasks else nullcontext():
            ours = self._side("", self.subject, loaded)
        theirs = None
        if self.other is not None and with_base and probe:
            theirs = _as_base(loaded, probe, lambda model: self._side("the base", self.subject, model))
        if self.other is not None and theirs is None:
            del loaded
            gc.collect()
            of = self.subject if with_base else self.other
            theirs = self._side("the other model", of, self.other.load(), theirs=not with_base)
        return ours, theirs

    def _probe(self) -> "Batch":
        """Some rows on which an adapter changes something: of those that are scored, else general ones."""
        rows = (self.sets[name].ours for name in (TASK, GENERAL) if name in self.sets)
        return _probe(next(rows, None) or self.subject.general_rows())

    def _side(self, title: str, of: Subject, model: "Model", theirs: bool = False) -> Side:
        encoder = of.encoder
        positions = encoder.room.positions
        found = {
            name: self._measuring(title, name).results(
                model, encoder.tokenizer, each.theirs if theirs else each.ours, positions
            )
            for name, each in self.sets.items()
        }
        if not self.evaluation.tasks:
            return Side(found)
        from engine.evaluation import harness

        tasks = harness.names(self.evaluation.tasks)
        measuring = self._measuring(title, "tasks")
        return Side(found, harness.score(tasks, model, encoder.tokenizer, measuring, positions))

    def _measuring(self, title: str, name: str) -> Measuring:
        def poll(done: int, total: int) -> None:
            self.context.run.emit(Phase(name="evaluating", done=done, total=total, note=title))
            self.context.poll()

        def smaller(count: int) -> None:
            message = f"Out of memory: continuing with {count} rows at a time."
            self.context.run.emit(Warned(message=message))

        most, needs = self.evaluation.max_tokens, self.needs
        if name == GENERAL:
            most = min(general.MOST_TOKENS, most or general.MOST_TOKENS)
            needs = frozenset({"answers"})
        return Measuring(needs, poll, self.context.poll, smaller, most)


def _as_base(model: "Model", probe: "Batch", measure: "Callable[[Model], Side]") -> Side | None:
    """The model with its adapter off, measured; None where that cannot be, and the base has to be loaded."""
    with ExitStack() as off:
        try:
            off.enter_context(adapter_off(model, probe))
        except ConfigError:
            return None
        return measure(model)


def _probe(rows: Rows) -> "Batch":
    import numpy as np

    from engine.data.batching import batch_of

    trained = [at for at in range(len(rows.examples)) if (rows.examples[at].labels[1:] >= 0).any()]
    return batch_of(rows.examples, np.array(trained[:PROBE_TEXTS], dtype=np.int64))
