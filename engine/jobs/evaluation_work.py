"""Work of the job `evaluate`: rows, both models measured, their scores compared and written down."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DataError
from engine.evaluation import general
from engine.evaluation.comparison import Comparison, compare
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.evaluation.report import page
from engine.evaluation.row_scores import ScoredRow, as_lines, deciding, most_different, scored_rows
from engine.jobs.base import JobContext
from engine.jobs.evaluation_options import BASE, Evaluation
from engine.jobs.evaluation_sides import GENERAL, TASK, RowSet, Side, Sides
from engine.jobs.evaluation_subject import NoRowsError, Subject
from engine.metrics import registry as metric_registry
from engine.metrics.base import Metric, Results
from engine.metrics.evaluation.perplexity import METRIC as PERPLEXITY
from engine.metrics.evaluation.perplexity import perplexity
from engine.runs.directory import registry
from engine.runs.directory.events import Eval, Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.storage.atomic import write_atomic
from engine.storage.disk_errors import explaining

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.evaluation.judge import Judge

LOOK_EVERY_S = 0.2
"""Longest time between two looks for commands while the judge is waited for."""


def evaluated(context: JobContext) -> str:
    """Score the model, and report it as an evaluation at the step of its weights; returns `completed`.

    Raises ConfigError, DataError or ModelError where it cannot be scored, Stopped where a person stops it.
    """
    evaluation = Evaluation.of(context.run)
    model = TrainedModel.find(evaluation.model)
    config = evaluation.recipe(model)
    # Perplexity is in every evaluation, and has a field of its own there.
    metrics = [metric_registry.load(name) for name in config.evaluation.metrics if name != PERPLEXITY.name]
    judge = _judge(context, evaluation)
    subject = Subject(context, model, config)
    other = _other(context, evaluation, model, config)
    sets = _sets(context, evaluation, subject, other)
    context.poll()
    needs = frozenset(need for metric in metrics for need in metric.needs)
    if evaluation.judge:
        needs |= {"answers"}
    ours, theirs = Sides(context, evaluation, subject, other, sets, needs).measured()
    comparison, rows = _compared(context, metrics, subject, sets.get(TASK), ours, theirs)
    body = _body(evaluation, model, comparison, rows, sets.get(TASK))
    if judge is not None:
        body["judge"] = _judged(context, judge, rows)
    if evaluation.forgetting:
        general_rows, body["forgetting"] = _forgetting(subject, sets[GENERAL], ours, theirs)
        rows += general_rows
    if evaluation.tasks:
        body["tasks"] = _tasks(ours, theirs)
    _write(context.run, body, rows)
    if TASK in sets:
        _emit(context.run, model, ours.sets[TASK], comparison)
    return "completed"


def _compared(
    context: JobContext,
    metrics: Sequence[Metric],
    subject: Subject,
    of: RowSet | None,
    our_side: Side,
    their_side: Side | None,
) -> tuple[Comparison, list[ScoredRow]]:
    """The scores of the rows, and the rows with theirs; empty where there are no rows."""
    if of is None:
        return Comparison((), {}), []
    ours, theirs = our_side.sets[TASK], their_side.sets[TASK] if their_side else None
    comparison = compare(metrics, ours, theirs, subject.config.seed, of.same_tokens)
    _warn(context, comparison, metrics, of, theirs)
    return comparison, scored_rows(of.ours, subject.encoder.tokenizer, comparison, ours, theirs)


def _emit(run: Run, model: TrainedModel, ours: Results, comparison: Comparison) -> None:
    values = {line.metric.name: line.value for line in comparison.lines if not line.of_tokens}
    assert ours.loss is not None
    run.emit(Eval(step=model.step or 0, loss=ours.loss, perplexity=perplexity(ours), metrics=values))


def _other(
    context: JobContext, evaluation: Evaluation, model: TrainedModel, config: "TrainConfig"
) -> Subject | None:
    """The model to compare with, on the same rows."""
    other = evaluation.other(model)
    if other is None:
        return None
    if evaluation.compared == BASE:
        return Subject(context, other, config)
    from engine.jobs.evaluation_options import recipe_of

    own = Run.open(other.run).config if other.run else recipe_of(other, evaluation.data or "starter")
    return Subject(context, other, config.model_copy(update={"model": own.model}))


def _sets(
    context: JobContext, evaluation: Evaluation, subject: Subject, other: Subject | None
) -> dict[str, RowSet]:
    """The rows by the names of their sets.

    Those of the task may be missing where tasks of lm-eval or general rows are scored, and nothing else is asked of
    them. Raises DataError otherwise.
    """
    sets: dict[str, RowSet] = {}
    try:
        if evaluation.data is not None or subject.model.run is not None:
            sets[TASK] = _rows(evaluation, subject, other)
    except NoRowsError as error:
        if not evaluation.needs_no_rows:
            raise
        context.run.emit(Warned(message=error.message, hint="Only what needs no rows is scored."))
    if evaluation.forgetting:
        sets[GENERAL] = _general(subject, None if evaluation.compared == BASE else other)
    return sets


def _rows(evaluation: Evaluation, subject: Subject, other: Subject | None) -> RowSet:
    """The rows that both are scored on. Raises DataError where there are none, or the two have none in common."""
    trained = None if evaluation.data is not None else subject.model.run
    source = Run.open(trained) if trained else None
    ours = subject.rows(source)
    if other is None or evaluation.compared == BASE:
        return RowSet(ours, ours)
    theirs = other.rows(source)
    known = {question.where: question for question in theirs.questions}
    kept = tuple(question for question in ours.questions if question.where in known)
    if ours.questions and not kept:
        raise DataError(
            "The two models have no prompt in common among these rows.",
            "Score both on rows of your own: --data FILE",
        )
    paired = tuple(known[question.where] for question in kept)
    return RowSet(replace(ours, questions=kept), replace(theirs, questions=paired))


def _general(subject: Subject, other: Subject | None) -> RowSet:
    """The general rows, that were not the task."""
    ours = subject.general_rows()
    theirs = other.general_rows() if other else ours
    return RowSet(ours, theirs)


def _warn(
    context: JobContext,
    comparison: Comparison,
    metrics: Sequence[Metric],
    rows: RowSet,
    theirs: Results | None,
) -> None:
    titles = {metric.name: metric.title for metric in metrics}
    for name, reason in comparison.lacking.items():
        message = f"{titles[name]} cannot be computed: {reason}."
        context.run.emit(Warned(message=message, hint="A metric of answers needs rows with prompts."))
    if theirs is not None and not rows.same_tokens:
        message = (
            "The two models' tokens differ, so their losses, which are means over tokens, are not compared."
        )
        context.run.emit(
            Warned(message=message, hint="Compare metrics of answers: --metrics chrf,exact_match")
        )


def _body(
    evaluation: Evaluation,
    model: TrainedModel,
    comparison: Comparison,
    rows: Sequence[ScoredRow],
    of: RowSet | None,
) -> dict[str, Any]:
    """The result as `evaluation.json` has it."""
    deciding_metric = deciding(comparison.lines)
    differing = most_different(rows, deciding_metric, evaluation.rows) if deciding_metric else []
    return {
        "version": 1,
        "model": _name(evaluation.model),
        "reference": evaluation.model,
        "step": model.step or 0,
        "against": evaluation.compared and _name(evaluation.compared),
        "texts": len(of.ours.examples) if of else 0,
        "prompts": len(of.ours.questions) if of else 0,
        "fingerprint": of.ours.fingerprint if of else None,
        "metrics": {line.metric.name: line.as_json() for line in comparison.lines},
        "lacking": dict(comparison.lacking),
        "differ_by": deciding_metric.name if deciding_metric else None,
        "differ_most": [row.as_json() for row in differing],
    }


def _name(reference: str) -> str:
    """A short name of a model for people: a run's own, or that of a folder."""
    path = Path(reference)
    name = registry.name_in(path.name)
    return (
        f"{registry.name_in(path.parent.parent.name)}/{name}" if path.parent.name == "checkpoints" else name
    )


def _forgetting(
    subject: Subject, of: RowSet, our_side: Side, their_side: Side | None
) -> tuple[list[ScoredRow], dict[str, Any]]:
    ours, theirs = our_side.sets[GENERAL], their_side.sets[GENERAL] if their_side else None
    comparison = compare([general.METRIC], ours, theirs, subject.config.seed, of.same_tokens)
    rows = scored_rows(of.ours, subject.encoder.tokenizer, comparison, ours, theirs)
    return rows, general.summary(comparison, rows)


def _tasks(ours: Side, theirs: Side | None) -> list[dict[str, Any]]:
    """Scores of lm-eval's tasks, with the other model's beside them."""
    others = {(each.task, each.metric): each for each in theirs.tasks} if theirs else {}
    found = []
    for each in ours.tasks:
        other = others.get((each.task, each.metric))
        found.append(asdict(each) | {"against": asdict(other) if other else None})
    return found


def _judge(context: JobContext, evaluation: Evaluation) -> "Judge | None":
    """The judge, asked for its name before the work: that it is not there should not be found out after it."""
    if evaluation.judge is None:
        return None
    from engine.evaluation.judge import Judge

    def wait(seconds: float) -> None:
        context.run.emit(Phase(name="evaluating", note=f"the judge is asked again in {seconds:.0f} s"))
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            context.poll()
            time.sleep(min(left, LOOK_EVERY_S))

    return Judge.open(evaluation.judge, evaluation.judge_model, evaluation.judge_key, wait)


def _judged(context: JobContext, judge: "Judge", rows: Sequence[ScoredRow]) -> dict[str, Any]:
    """The verdicts; where some are missing, a warning says how many and why, and the scores are kept."""

    def poll(done: int, total: int) -> None:
        context.run.emit(Phase(name="evaluating", done=done, total=total, note="judging"))
        context.poll()

    found = judge.compare(rows, poll)
    if problem := found["problem"]:
        message = f"{found['judged']} of {found['of']} rows were judged: {problem['message']}"
        context.run.emit(Warned(message=message, hint=problem["hint"]))
    return found


def _write(run: Run, body: dict[str, Any], rows: Sequence[ScoredRow]) -> None:
    """Write the rows, the page and, last, the result. Each file is there whole or not at all."""
    with explaining(run.folder):
        write_atomic(run.folder / ROWS, as_lines(rows))
        write_atomic(run.folder / REPORT, page(body, [row.as_json() for row in rows]))
        write_atomic(run.folder / RESULT, json.dumps(body, indent=2, ensure_ascii=False) + "\n")
