"""Two runs side by side: what was asked of them, what they were made with, what came of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from engine.runs.directory.recipe import flattened
from engine.runs.directory.run import Run
from engine.runs.index.summary import RunSummary
from engine.storage.regular_files import read_text

Better = Literal["", "left", "right"]
PLANNED = (
    *("backend", "device", "compute_dtype", "attention", "kernels", "gradient_checkpointing"),
    *("activation_offloading", "micro_batch_rows", "accumulation", "packing", "examples", "steps"),
)
HASH = 12
"""Characters of a fingerprint that are shown."""
MACHINE = ("system", "cpu", "cores", "ram_bytes", "device", "gpu_name", "gpu_bytes", "bf16")


@dataclass(frozen=True)
class Row:
    """One thing that both runs have, or one of them; None where it has not."""

    key: str
    left: Any
    right: Any
    better: Better = ""
    """Which of two results is the better one; empty where neither is, or where that cannot be said."""

    @property
    def same(self) -> bool:
        return bool(self.left == self.right) or repr(self.left) == repr(self.right)  # no NaN equals another


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
            name: tuple(row for row in rows if not row.same or name == "results")
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


def written(key: str, value: Any) -> str:
    """A row's value as a person reads it: bytes and seconds with units, fingerprints cut, numbers short."""
    if value is None:
        return "–"
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
        return f"{value / 1e9:.2f} GB"
    if key == "seconds in steps":
        return f"{value:.1f} s"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def compare(left: RunSummary, right: RunSummary) -> Comparison:
    """What both are, from their summaries and two small files of each, however long they are.

    What is missing or damaged is absent, never an error.
    """
    sides = [_Side.of(run) for run in (left, right)]
    sections = {
        "results": _results(*sides),
        "recipe": _rows(*(side.config for side in sides)),
        "data and model": _rows(*(side.origin for side in sides)),
        "plan": _rows(*(side.plan for side in sides)),
        "versions": _rows(*(side.versions for side in sides)),
        "machine": _rows(*(side.machine for side in sides)),
    }
    return Comparison(left.id, right.id, sections, _cautions(*sides))


@dataclass(frozen=True)
class _Side:
    config: dict[str, Any]
    origin: dict[str, Any]
    plan: dict[str, Any]
    versions: dict[str, Any]
    machine: dict[str, Any]
    results: dict[str, Any]

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
    """What was settled in planning; reasons and estimates are left out."""
    try:
        plan = _mapping(json.loads(read_text(file)))
    except (OSError, ValueError, RecursionError):
        return {}
    known = plan | _mapping(plan.get("decisions")) | _mapping(plan.get("work"))  # side by side in ft 0.1.0
    return {name: known[name] for name in PLANNED if name in known}


def _hardware(machine: dict[str, Any]) -> dict[str, Any]:
    """What the machine is; how much of it was free then is left out."""
    return {name: machine[name] for name in MACHINE if machine.get(name) is not None}


def _came_of(run: RunSummary) -> dict[str, Any]:
    """What the run has come to, in the order in which it is read."""
    state, totals = run.state, run.totals
    found: dict[str, Any] = {"status": state.status, "step": state.step, "loss": state.loss}
    found |= {"best held-out loss": state.best, "best step": state.best_step}
    last = totals.last_eval
    if last is not None:
        found |= {"last held-out loss": last.loss, "last held-out perplexity": last.perplexity}
        found |= {f"last held-out {name.replace('_', ' ')}": value for name, value in last.metrics.items()}
    if totals.seconds:
        found |= {"trained tokens": totals.trained_tokens, "seconds in steps": round(totals.seconds, 3)}
        found |= {"tokens per second": totals.tokens / totals.seconds}
    peaks = {"process peak bytes": totals.process_peak_bytes, "device peak bytes": totals.device_peak_bytes}
    return found | {name: value for name, value in peaks.items() if value}


def _results(left: _Side, right: _Side) -> tuple[Row, ...]:
    comparable = not _cautions(left, right)
    return tuple(
        Row(row.key, row.left, row.right, _better(row, comparable))
        for row in _rows(left.results, right.results)
    )


def _better(row: Row, comparable: bool) -> Better:
    """The better of two figures, where less or more is better at all."""
    lower = row.key.endswith(("loss", "perplexity", "peak bytes"))
    higher = row.key == "tokens per second" or (row.key.startswith("last held-out ") and not lower)
    about_answers = "held-out" in row.key or row.key == "loss"
    if not (lower or higher) or row.key == "loss" or (about_answers and not comparable):
        return ""
    if not isinstance(row.left, int | float) or not isinstance(row.right, int | float):
        return ""
    if row.left == row.right or row.left != row.left or row.right != row.right:
        return ""
    return "left" if (row.left < row.right) == lower else "right"


def _cautions(left: _Side, right: _Side) -> tuple[str, ...]:
    """Why a held-out loss of one says little beside the other's."""

    one, other = left.config | left.origin, right.config | right.origin

    def apart(*keys: str) -> bool:
        return any(key in one and key in other and one[key] != other[key] for key in keys)

    found = []
    held_out = one.get("data.validation"), other.get("data.validation")
    from_train = any(isinstance(share, int | float) for share in held_out)
    if apart("data.validation", "data.train_on") or (from_train and apart("data.fingerprint")):
        found.append("Their held-out rows differ, so their held-out losses cannot be set against each other.")
    if apart("model.base", "model.fingerprint", "model.chat_template", "model.template_variables"):
        found.append("Their base models differ: a loss is per token, and tokens may be cut otherwise.")
    return tuple(found)


def _rows(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[Row, ...]:
    """Every key of either, those of the left first and in its order."""
    return tuple(Row(key, left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right]))


def _part(facts: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    return flattened(_mapping(facts.get(name)))


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}
