"""Filters that a person types to find runs: `lr>1e-4 loss<1 status:completed name:sql -tag:old qwen`.

    terms       parts between spaces; all of them have to hold; `-` in front turns one round
    numbers     field and one of < <= > >= = !=, then a number: 1e-4, 10k, 2M, 80%, nan; times as 30min, 2h, 3d
    text        field:words (holds the words) or field=word (is the word); several, separated by commas: any
    anything    a bare word is looked for in name, tags, id, status, model and data; "two words" in quotes

Fields are those of `FIELDS`, every key of the recipe, as `adapter.rank=16` and `training.scheduler:cosine`, and
`best.METRIC`, as `best.exact_match>80%`, for runs whose best checkpoint goes by that metric.
"""

import difflib
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError
from engine.metrics.registry import EVAL_LOSS
from engine.runs.directory.state import OLD_STATUS
from engine.runs.index.summary import RunSummary

Predicate = Callable[[RunSummary], bool]


@dataclass(frozen=True)
class Field:
    """Something that a filter can ask of a run."""

    help: str
    value: Callable[[RunSummary], Any]
    """A number, a text, a list of texts, or None where the run has none."""
    kind: str = "number"
    """number, time (a number of seconds) or text."""


BEST = "best."
"""Prefix of a field for the best value of the metric whose name follows."""


def _best(metric: str) -> Callable[[RunSummary], float | None]:
    """A run's best value of a metric; None where another one makes its checkpoints the best."""
    return lambda run: run.state.best if run.state.best_metric == metric else None


FIELDS: dict[str, Field] = {
    "name": Field("the recipe's name", lambda run: run.name, "text"),
    "id": Field("the run's id", lambda run: run.id, "text"),
    "tag": Field(
        "a tag of the recipe, or a word of the name between its - _ and .",
        lambda run: [*run.tags, *re.split(r"[-_.]", run.name)],
        "text",
    ),
    "status": Field(
        "new, running, paused, completed, stopped, failed, crashed; or damaged",
        lambda run: [run.state.status, *(["damaged"] if run.damaged else [])],
        "text",
    ),
    "kind": Field(
        "the kind of job: train, evaluate, export, serve, push or download", lambda run: run.kind, "text"
    ),
    "model": Field("the base model", lambda run: run.config.get("model.base"), "text"),
    "data": Field("the training data", lambda run: sources(run.config.get("data.train")), "text"),
    "loss": Field("training loss of the last step", lambda run: run.state.loss),
    "best": Field("lowest validation loss; best.exact_match and so on for another metric", _best(EVAL_LOSS)),
    "step": Field("steps done", lambda run: run.state.step),
    "steps": Field("steps planned", lambda run: run.state.total),
    "speed": Field("tokens per second", lambda run: run.tokens_per_s),
    "age": Field(
        "time since it began: age<2d, age>30min",
        lambda run: time.time() - run.created if run.created else None,
        "time",
    ),
    "lr": Field("learning rate", lambda run: run.config.get("training.learning_rate")),
    "rank": Field("rank of the adapter", lambda run: run.config.get("adapter.rank")),
    "epochs": Field("epochs planned", lambda run: run.config.get("training.epochs")),
    "batch": Field("effective batch size", lambda run: run.config.get("training.effective_batch_size")),
}
"""The short names; a name with a dot in it is a key of the recipe."""

ANYWHERE = ("name", "tag", "id", "status", "model", "data")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "%": 0.01}
SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TERM = re.compile(
    r'\s*(?P<not>-?)(?:(?P<field>[A-Za-z_][\w.]*)(?P<op><=|>=|!=|<|>|=|:))?(?P<rest>"|[^\s"]*)'
)
_NUMBER = re.compile(r"(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan)(?P<unit>[a-zA-Z]*|%)\Z")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b)),
}


class FilterError(ConfigError):
    """A filter that says nothing clear. `start` and `end` are the characters that are meant, from 0."""

    def __init__(self, message: str, hint: str, start: int, end: int) -> None:
        super().__init__(message, hint)
        self.start = start
        self.end = end

    def pointed(self, text: str) -> str:
        """The filter with a line of `^` below the place."""
        return f"{text}\n{' ' * self.start}{'^' * max(1, self.end - self.start)}"


def compile_filter(text: str) -> Predicate:
    """Return True if a run is meant by the filter; an empty one means all. Raises FilterError with the place."""
    tests = [_term(found, text) for found in _terms(text)]
    return lambda run: all(test(run) for test in tests)


def sources(train: Any) -> list[str]:
    """The paths of `data.train`, which is one source or a list of them."""
    listed = train if isinstance(train, list) else [train]
    paths = (source.get("path") if isinstance(source, dict) else source for source in listed)
    return [path for path in paths if isinstance(path, str)]


@dataclass(frozen=True)
class _Term:
    negated: bool
    field: str
    op: str
    values: tuple[str, ...]
    start: int
    value_start: int
    end: int


def _terms(text: str) -> Iterable[_Term]:
    at = 0
    while text[at:].strip():
        found = _TERM.match(text, at)
        assert found is not None
        start = found.start("not")
        field, op, rest, end = found["field"] or "", found["op"] or "", found["rest"], found.end()
        quoted = rest == '"'
        if quoted:
            close = text.find('"', end)
            if close < 0:
                raise FilterError("The quote is not closed.", 'Add a " at its end.', end - 1, len(text))
            rest, end = text[end:close], close + 1
        values = (rest,) if quoted or not field else tuple(part for part in rest.split(",") if part)
        yield _Term(found["not"] == "-", field, op, values, start, found.start("rest"), end)
        at = end


def _term(term: _Term, text: str) -> Predicate:
    if not term.field:
        if not term.values[0]:
            raise FilterError("A word has to follow the -.", "-old leaves out the old.", term.start, term.end)
        test = _anywhere(term.values[0])
    elif not term.values:
        written = text[term.start : term.end]
        raise FilterError(f"A value has to follow {written}", _example(term), term.start, term.end)
    else:
        test = _asked(term)
    return (lambda run: not test(run)) if term.negated else test


def _asked(term: _Term) -> Predicate:
    field = _field(term)
    if field.kind == "text" and term.op in (":", "=", "!="):
        return _text(field, term)
    if field.kind == "text":
        message = f"{term.field} is text, which is neither more nor less."
        raise FilterError(message, f"Write {term.field}:{term.values[0]}", term.start, term.end)
    if field.kind == "any" and term.op in (":", "=", "!=") and not all(map(_NUMBER.match, term.values)):
        return _text(field, term)
    numbers = [_number(value, field, term) for value in term.values]
    compare = _COMPARE["=" if term.op in (":", "!=") else term.op]

    def test(run: RunSummary) -> bool:
        value = field.value(run)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return any(compare(value, number) for number in numbers) != (term.op == "!=")

    return test


def _text(field: Field, term: _Term) -> Predicate:
    wanted = [value.casefold() for value in term.values]
    if term.field == "status":
        wanted = [OLD_STATUS.get(word, word) for word in wanted]
    whole = term.op != ":" or term.field == "tag"

    def test(run: RunSummary) -> bool:
        value = field.value(run)
        if value is None:
            return False
        has = [_written(item).casefold() for item in (value if isinstance(value, list) else [value])]
        holds = any(word == text if whole else word in text for word in wanted for text in has)
        return holds != (term.op == "!=")

    return test


def _anywhere(word: str) -> Predicate:
    wanted, fields = word.casefold(), [FIELDS[name] for name in ANYWHERE]

    def test(run: RunSummary) -> bool:
        for field in fields:
            value = field.value(run)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and wanted in text.casefold():
                    return True
        return False

    return test


def _field(term: _Term) -> Field:
    name = term.field
    if name in FIELDS:
        return FIELDS[name]
    metric = name.removeprefix(BEST)
    if metric and metric != name:
        return Field(f"best {metric}", _best(metric))
    if "." in name.strip("."):
        return Field("a key of the recipe", lambda run: run.config.get(name), "any")
    near = difflib.get_close_matches(name, FIELDS, 1, 0.5)
    there = f"There are {', '.join(FIELDS)}, and the recipe's keys, as adapter.rank."
    hint = f"Did you mean {near[0]}?" if near else there
    raise FilterError(f"There is no field {name!r}.", hint, term.start, term.start + len(name))


def _number(value: str, field: Field, term: _Term) -> float:
    found = _NUMBER.match(value)
    units = SECONDS if field.kind == "time" else UNITS
    unit = found["unit"].lower() if found else ""
    if found is None or (unit and unit not in units):
        what = "a time" if field.kind == "time" else "a number"
        raise FilterError(f"{value!r} is not {what}.", _example(term), term.value_start, term.end)
    return float(found["number"]) * (units[unit] if unit else 1.0)


def _written(value: Any) -> str:
    """A value as train.yml writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _example(term: _Term) -> str:
    kind = FIELDS[term.field].kind if term.field in FIELDS else "number"
    examples = {"text": f"{term.field}:word", "time": f"{term.field}<2d or {term.field}>30min"}
    return "For example " + examples.get(kind, f"{term.field}<0.5 or {term.field}>=1e-4")
