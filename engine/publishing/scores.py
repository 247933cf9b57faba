"""Scores of a run's weights: of its own evaluations, and of those made of it since."""

from collections.abc import Iterator

from engine.errors import FtError
from engine.publishing.model_card import Score
from engine.publishing.public_recipe import public_source
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

OWN_ROWS = "validation rows of the run"


def scores_of(run: Run, step: int | None) -> tuple[Score, ...]:
    """Scores of the weights that a run had at a step, each metric once for the same rows: its latest value.

    Where the run was evaluated before its first step, those values are beside them.
    """
    events = run.evaluations()
    first = next((event for event in events if event.step == 0), None)
    before = first.scores if first and step else {}
    found: dict[tuple[str, str], Score] = {}
    for event in events:
        if event.step == step:
            for name, value in event.scores.items():
                found[name, OWN_ROWS] = Score(name, value, OWN_ROWS, before.get(name))
    for other, rows in evaluations_of(run, step):
        for event in other.evaluations()[-1:]:
            for name, value in event.scores.items():
                was = before.get(name) if rows == OWN_ROWS else None
                found[name, rows] = Score(name, value, rows, was)
    return tuple(found.values())


def evaluations_of(run: Run, step: int | None) -> Iterator[tuple[Run, str]]:
    """The `ft evaluate` runs that scored a run's weights of a step, oldest first, with their rows in words."""
    for other in reversed(Run.all()):
        if other.kind == "evaluate" and other.state().status == "completed":
            job = other.job
            try:
                model = TrainedModel.find(str(job.get("model")))
            except FtError:
                continue  # of a model that is gone
            if model.run is not None and model.run.resolve() == run.folder.resolve() and model.step == step:
                data = job.get("data")
                yield other, public_source(data) if isinstance(data, str) else OWN_ROWS
