"""Events that the engine writes while it works, one JSON object a line, and their codec.

A reader never crashes on any bytes: a torn last line is end of file, an unknown type is skipped.

Every line begins with `v`, `type` and `t`. A step's line continues with the fields of `STEP_HEAD` and ends with those
of `STEP_TAIL`, whatever fields steps get in between: a million of them are added up from these two ends, undecoded.
"""

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar

from engine.errors import LONGEST_MESSAGE
from engine.redaction import redacted
from engine.text import shortened

VERSION = 1
LAST_T = 1e11
"""Seconds: a time beyond it (the year 5138) is none, and no calendar could show it."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Common to all: `t`, the time of writing in unix seconds."""

    type: ClassVar[str] = ""
    t: float = field(default_factory=time.time)


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The engine is up. Events of steps later than `last_valid_step` no longer hold: they are done again.

    `processes` is how many train together; absent where one does.
    """

    type = "started"
    run: str
    pid: int
    resumed_from: int | None = None
    processes: int | None = None

    @property
    def last_valid_step(self) -> int:
        """Last step before this start that still holds; -1 where the run begins again."""
        return -1 if self.resumed_from is None else self.resumed_from


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """Phase of the engine's work: loading, tokenising, training, evaluating, saving."""

    type = "phase"
    name: str
    done: int | None = None
    total: int | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """One step of the optimizer. `tokens` are real (padding left out); `loss` is the objective's mean, for supervised
    fine-tuning in nats a trained token. `metrics` are the objective's own, by name (`engine.metrics`)."""

    type = "step"
    step: int
    total: int
    epoch: float
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    trained_tokens: int
    tokens_per_s: float
    step_s: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Left out of the line where there are none."""


@dataclass(frozen=True, kw_only=True)
class Eval(Event):
    """An evaluation on validation rows. `loss` is the objective's mean, in supervised fine-tuning in nats a token;
    `metrics` are those that the method reports and the recipe asks for. `perplexity` is None where the loss is not that
    of tokens.

    `best` is True if no earlier evaluation of the run is as good by the metric `best_by` (None: validation loss).
    """

    type = "eval"
    step: int
    loss: float
    perplexity: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: bool = False
    best_by: str | None = None

    @property
    def scores(self) -> Mapping[str, float]:
        """Every metric of the evaluation by its name in `engine.metrics`, the loss first."""
        surprise = {} if self.perplexity is None else {"perplexity": self.perplexity}
        return {"eval_loss": self.loss} | surprise | dict(self.metrics)


@dataclass(frozen=True, kw_only=True)
class Sample(Event):
    """The model's answer to a prompt of the recipe at this step."""

    type = "sample"
    step: int
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Memory(Event):
    """Bytes in use; what cannot be read is absent."""

    type = "memory"
    process_bytes: int | None = None
    process_peak_bytes: int | None = None
    device_bytes: int | None = None
    device_peak_bytes: int | None = None
    system_used_bytes: int | None = None
    system_total_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """Something is on disk. `kind`: checkpoint, adapter or model. `path` is relative to the run."""

    type = "saved"
    step: int
    path: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Proved(Event):
    """An export was compared with the model that was trained; see `engine.parity.proof.Proof`.

    `metrics`: `top1`, `top1_decided` (shares), `kl_mean`, `kl_max` (nats a token), `positions`. `report` is for a
    person.
    """

    type = "proved"
    passed: bool
    report: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Serving(Event):
    """A server answers at `url`, as OpenAI's API does, under the names `models`.

    `engine` is the program that answers; `slots` requests are answered together, and `Load` tells of them.
    `needs_key` is True if a request has to carry the API key.
    """

    type = "serving"
    url: str
    models: tuple[str, ...]
    engine: str
    slots: int
    needs_key: bool = False


@dataclass(frozen=True, kw_only=True)
class Load(Event):
    """A server's load now: answers being written and waiting; and since it answers, those that are whole, and tokens.

    `tokens_per_s` is the mean since the event before. Tokens are None where another engine writes them, which does not
    tell of each.
    """

    type = "load"
    running: int
    waiting: int
    answers: int
    tokens: int | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Acknowledged(Event):
    """A control command was taken."""

    type = "acknowledged"
    id: str
    command: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something that the person should know; the run continues."""

    type = "warning"
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run ended by an error. `kind` is a key of `engine.errors.KINDS`."""

    type = "failed"
    kind: str
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run ended well. `reason`: completed, stopped, early_stopping."""

    type = "finished"
    reason: str
    step: int


TYPES: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (
        *(Started, Phase, Step, Eval, Sample, Memory, Saved, Proved),
        *(Serving, Load, Acknowledged, Warned, Failed, Finished),
    )
}


def published(event: Event) -> Event:
    """The event as it may be written down: messages without secrets, and of bounded length."""
    match event:
        case Phase(note=note) if note:
            return replace(event, note=shortened(redacted(note)))
        case Warned() | Failed():
            message = shortened(redacted(event.message), LONGEST_MESSAGE)
            return replace(event, message=message, hint=shortened(redacted(event.hint)))
    return event


STEP_HEAD = ("step", "total", "epoch", "loss")
STEP_TAIL = ("tokens", "trained_tokens", "tokens_per_s", "step_s")


def encode(event: Event) -> bytes:
    """One line, newline included, in the order that the module's docstring gives.

    Absent values are left out; a number that JSON lacks becomes a string.
    """
    fields_of = {name: value for name, value in asdict(event).items() if value is not None}
    body = {"v": VERSION, "type": event.type, "t": fields_of.pop("t")}
    if isinstance(event, Step):
        if not event.metrics:
            del fields_of["metrics"]
        head = {name: fields_of.pop(name) for name in STEP_HEAD}
        tail = {name: fields_of.pop(name) for name in STEP_TAIL}
        fields_of = head | fields_of | tail
    text = json.dumps(_finite(body | fields_of), ensure_ascii=False, allow_nan=False)
    # "replace": a file name that is not UTF-8 has surrogates in it.
    return text.encode("utf-8", "replace") + b"\n"


def beginning(kind: type[Event]) -> bytes:
    """First bytes of every line of this kind of event: enough to pass it over without decoding it."""
    return f'{{"v": {VERSION}, "type": "{kind.type}",'.encode()


def step_number(line: bytes) -> int | None:
    """A step's number, from the head of its line; None where it has no such head."""
    found = _STEP_NUMBER.match(line)
    return int(found[1]) if found else None


def step_point(line: bytes) -> tuple[int, float, float] | None:
    """Number, loss and tokens per second of a step, from both ends of its line; None where they are not numbers."""
    head, tail = _STEP_HEAD.match(line), _STEP_TAIL.search(line)
    try:
        return (int(head[1]), float(head[2]), float(tail[3])) if head and tail else None
    except ValueError:  # a number that JSON lacks, which is written as a string
        return None


def step_tails(lines: Sequence[bytes]) -> "tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]] | None":
    """Tokens, trained tokens and seconds of many steps, from the tails of their lines;
    None where one has no such tail."""
    found = _STEP_TAIL.findall(b"".join(lines))
    if len(found) != len(lines):
        return None
    tokens, trained, _, seconds = zip(*found, strict=True) if found else ((), (), (), ())
    try:
        return tuple(map(int, tokens)), tuple(map(int, trained)), tuple(map(float, seconds))
    except ValueError:  # a number that JSON lacks
        return None


def decode(line: bytes) -> Event | None:
    """The event of a line, or None where the line is torn, foreign, of a type unknown here, or ill-typed."""
    try:
        body = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("v") != VERSION:
        return None
    kind = TYPES.get(str(body.get("type")))
    if kind is None:
        return None
    declared = _DECLARED[kind.type]
    try:
        event = kind(**{key: _typed(value, declared[key]) for key, value in body.items() if key in declared})
    except (TypeError, OverflowError):
        return None
    return event if 0 <= event.t < LAST_T else None


_FLOATS: tuple[object, ...] = (float, float | None)
_INTS: tuple[object, ...] = (int, int | None)
_TEXTS: tuple[object, ...] = (str, str | None)
_METRICS: object = Mapping[str, float]
_NAMES: object = tuple[str, ...]
_DECLARED: dict[str, dict[str, object]] = {
    name: {f.name: f.type for f in fields(kind)} for name, kind in TYPES.items()
}
"""Types of each event's fields. Asked for every line: runs have a hundred thousand."""


_NUMBER = r"[-+\d.e]+"
_TO_STEP = re.escape(beginning(Step).decode()) + rf' "t": {_NUMBER}, "step": (\d+), '
_STEP_NUMBER = re.compile(_TO_STEP.encode())
_STEP_HEAD = re.compile((_TO_STEP + rf'"total": \d+, "epoch": {_NUMBER}, "loss": ({_NUMBER}), ').encode())
_STEP_TAIL = re.compile(
    r'"tokens": (\d+), "trained_tokens": (\d+), "tokens_per_s": (N), "step_s": (N)\}\n'.replace(
        "N", rf'{_NUMBER}|"(?:nan|-?inf)"'
    ).encode()
)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _typed(value: Any, declared: object) -> Any:
    """The value as its field declares it, `_finite` undone. Raises TypeError where it is something else."""
    if declared in _FLOATS:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if value in ("nan", "inf", "-inf"):
            return float(value)
    elif declared is bool:
        if isinstance(value, bool):
            return value
    elif declared in _INTS:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif declared in _TEXTS:
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode()
    elif declared == _METRICS and isinstance(value, dict):
        return {_typed(name, str): _typed(item, float) for name, item in value.items()}
    elif declared == _NAMES and isinstance(value, list):
        return tuple(_typed(item, str) for item in value)
    raise TypeError(f"{value!r} is not of type {declared}")
