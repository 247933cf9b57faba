"""Two runs side by side: results, scores, answers, exports, recipe, data, plan, versions, machine."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.recipe import flattened
from engine.runs.directory.run import Run
from engine.runs.index.compare_made import Made, answer_rows, export_rows, score_rows
from engine.runs.index.compare_row import Row as Row
from engine.runs.index.compare_row import better_of
from engine.runs.index.summary import RunSummary
from engine.storage.regular_files import read_text
from engine.units import size

PLANNED = (
    *("backend", "device", "compute_dtype", "attention", "kernels", "gradient_checkpointing"),
    *("activation_offloading", "micro_batch_rows", "accumulation", "packing", "examples", "steps"),
)
RESULTS = ("results", "scores")
"""Sections whose rows are shown where they are the same too."""
HASH = 12
"""Characters of a fingerprint that are shown."""
OTHER_ROWS = "Their validation rows differ, so their validation losses cannot be compared."
OTHER_BASES = "Their base models differ: a loss is per token, and tokens may be cut otherwise."
MACHINE = ("system", "cpu", "cores", "ram_bytes", "device", "gpu_name", "gpu_bytes", "bf16")


@dataclass(frozen=True)
class Comparison:
    """Rows by section, and what forbids to set the results against each other."""

    left: str
    right: str
    sections: Mapping[str, tuple[Row, ...]]
    cautions: tuple[str, ...] = ()

    def different(self) -> dict[str, tuple[Row, ...]]:
        """Only the rows in which the runs differ, without the sections that have none."""
        kept = {
            name: tuple(row for row in rows if not row.same or name in RESULTS)
            for name, rows in self.sections.items()
        }
        return {name: rows for name, rows in kept.items() if rows}

    def to_json(self) -> dict[str, Any]:
        """Plain values: ids, cautions, and for each section its rows with whether they are the same."""
        sections = {
            name: [asdict(row) | {"same": row.same} for row in rows] for name, rows in self.sections.items()
        }
        return {
            "left": self.left,
            "right": self.right,
            "cautions": list(self.cautions),
            "sections": sections,
        }


def written(key: str, value: Any, metric: str = "") -> str:
    """A row's value as a person reads it: bytes and seconds with units, fingerprints cut, numbers short.

    A value of a metric is in the metric's own format.
    """
    if value is None:
        return "–"
    if metric:
        return describe(metric).written(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        flat = " ".join("".join(c if c.isprintable() else " " for c in value).split())
        return flat[:HASH] if key.endswith(("fingerprint", "commit")) else flat
    if isinstance(value, list):
        return ", ".join(written("", item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {written(str(name), item)}" for name, item in value.items())
    if key.endswith("bytes"):
        return size(value)
    if key == "seconds in steps":
        return f"{value:.1f} s"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def side_text(row: Row, side: Literal["left", "right"]) -> str:
    """One side of a row as a person reads it, a score with its confidence interval."""
    value, interval = (row.left, row.left_interval) if side == "left" else (row.right, row.right_interval)
    text = written(row.key, value, row.metric)
    if interval is None or value is None:
        return text
    low, high = (written(row.key, bound, row.metric) for bound in interval)
    return f"{text} ({low} to {high})"


def compare(left: RunSummary, right: RunSummary) -> Comparison:
    """Compare two runs by their summaries, the end of their events, and the small files of the jobs done with them.

    What is missing or damaged is absent, never an error.
    """
    sides = [_Side.of(run) for run in (left, right)]
    one, other = (Made.of(Run(run.folder, run.id), run.state) for run in (left, right))
    cautions = _cautions(*sides)
    same_tokens, same_rows = OTHER_BASES not in cautions, OTHER_ROWS not in cautions
    sections = {
        "results": _results(*sides),
        "scores": score_rows(one, other, same_tokens, same_rows),
        "answers": answer_rows(one, other),
        "exports": export_rows(one, other),
        "recipe": _rows(*(side.config for side in sides)),
        "data and model": _rows(*(side.origin for side in sides)),
        "plan": _rows(*(side.plan for side in sides)),
        "versions": _rows(*(side.versions for side in sides)),
        "machine": _rows(*(side.machine for side in sides)),
    }
    return Comparison(left.id, right.id, sections, cautions)


@dataclass(frozen=True)
class _Side:
    config: dict[str, Any]
    origin: dict[str, Any]
    plan: dict[str, Any]
    versions: dict[str, Any]
    machine: dict[str, Any]
    results: dict[str, "_Figure"]

    @staticmethod
    def of(run: RunSummary) -> "_Side":
        facts = Run(run.folder, run.id).provenance
        made_with = {name: facts[name] for name in ("python", "system") if name in facts}
        origin = {f"{part}.{key}": value for part in ("data", "model") for key, value in _part(facts, part)}
        git = _mapping(facts.get("git"))
        if git.get("commit"):
            origin["git commit"] = git["commit"]
            origin["git changes"] = bool(git.get("changed"))
        return _Side(
            dict(run.config),
            origin,
            _planned(run.folder / "plan.json"),
            made_with | _mapping(facts.get("versions")),
            _hardware(_mapping(facts.get("machine"))),
            _came_of(run),
        )


def _planned(file: Path) -> dict[str, Any]:
    """Decisions of the plan; reasons and estimates are left out."""
    try:
        plan = _mapping(json.loads(read_text(file)))
    except (OSError, ValueError, RecursionError):
        return {}
    known = plan | _mapping(plan.get("decisions")) | _mapping(plan.get("work"))  # side by side in ft 0.1.0
    return {name: known[name] for name in PLANNED if name in known}


def _hardware(machine: dict[str, Any]) -> dict[str, Any]:
    """Facts of the machine; how much of it was free then is left out."""
    return {name: machine[name] for name in MACHINE if machine.get(name) is not None}


@dataclass(frozen=True)
class _Figure:
    """One result of a run; `better` is the direction in which another run's is better, where there is one."""

    value: Any
    better: Literal["higher", "lower"] | None = None
    metric: str = ""
    """Name in `engine.metrics`, where it is one: it depends on rows, and on how the model cuts tokens."""


def _came_of(run: RunSummary) -> "dict[str, _Figure]":
    """The run's results, in the order in which they are read."""
    state, totals = run.state, run.totals
    found = {"status": _Figure(state.status), "step": _Figure(state.step)}
    found["loss"] = _Figure(state.loss, metric="loss")  # of other rows in each run, so neither is better
    found[f"best {_of_validation(state.best_metric)}"] = _score(state.best_metric, state.best)
    found["best step"] = _Figure(state.best_step)
    if totals.last_eval is not None:
        for name, value in totals.last_eval.scores.items():
            found[f"last {_of_validation(name)}"] = _score(name, value)
    if totals.seconds:
        found["trained tokens"] = _Figure(totals.trained_tokens)
        found["seconds in steps"] = _Figure(round(totals.seconds, 3))
        found["tokens per second"] = _Figure(totals.tokens / totals.seconds, "higher")
    peaks = {"process peak bytes": totals.process_peak_bytes, "device peak bytes": totals.device_peak_bytes}
    return found | {name: _Figure(value, "lower") for name, value in peaks.items() if value}


def _score(name: str, value: float | None) -> _Figure:
    return _Figure(value, describe(name).better, name)


def _of_validation(name: str) -> str:
    """`validation loss`, `validation exact match`."""
    return f"validation {'loss' if name == EVAL_LOSS else name.replace('_', ' ')}"


def _results(left: _Side, right: _Side) -> tuple[Row, ...]:
    comparable = not _cautions(left, right)
    return tuple(
        _row(key, left.results.get(key, _Figure(None)), right.results.get(key, _Figure(None)), comparable)
        for key in dict.fromkeys([*left.results, *right.results])
    )


def _row(key: str, left: _Figure, right: _Figure, comparable: bool) -> Row:
    """A row of results, with the better of two figures where one can be said to be better."""
    direction = left.better or right.better
    metric = left.metric or right.metric
    fair = comparable or not metric
    better = better_of(left.value, right.value, direction) if fair else ""
    return Row(key, left.value, right.value, better, metric)


def _cautions(left: _Side, right: _Side) -> tuple[str, ...]:
    """Reasons why a validation loss of one says little beside the other's."""

    one, other = left.config | left.origin, right.config | right.origin

    def apart(*keys: str) -> bool:
        return any(key in one and key in other and one[key] != other[key] for key in keys)

    found = []
    validation = one.get("data.validation"), other.get("data.validation")
    from_train = any(isinstance(share, int | float) for share in validation)
    if apart("data.validation", "data.train_on") or (from_train and apart("data.fingerprint")):
        found.append(OTHER_ROWS)
    if apart("model.base", "model.fingerprint", "model.chat_template", "model.template_variables"):
        found.append(OTHER_BASES)
    return tuple(found)


def _rows(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[Row, ...]:
    """Every key of either, those of the left first and in its order."""
    return tuple(Row(key, left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right]))


def _part(facts: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    return flattened(_mapping(facts.get(name)))


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
