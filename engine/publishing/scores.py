"""Scores of a run's weights: of its own evaluations, and of those made of it since."""

from engine.publishing.model_card import Score
from engine.publishing.public_recipe import public_source
from engine.runs.directory.run import Run
from engine.runs.index.made_of import evaluations_of

OWN_ROWS = "validation rows of the run"


def scores_of(run: Run, step: int | None) -> tuple[Score, ...]:
    """Scores of the weights that a run had at a step, each metric once for the same rows: its latest value.

    Where the run was evaluated before its first step, or with its base beside it, those values are there too.
    """
    events = run.evaluations()
    first = next((event for event in events if event.step == 0), None)
    before = first.scores if first and step else {}
    found: dict[tuple[str, str], Score] = {}
    for event in events:
        if event.step == step:
            for name, value in event.scores.items():
                found[name, OWN_ROWS] = Score(name, value, OWN_ROWS, before.get(name))
    for made in evaluations_of(run):
        if made.step == step:
            rows = OWN_ROWS if made.rows is None else public_source(made.rows)
            own = before if made.rows is None else {}
            for name, value in made.scores.items():
                was = made.of_base.get(name, own.get(name))
                found[name, rows] = Score(name, value, rows, was, made.intervals.get(name))
    return tuple(found.values())
